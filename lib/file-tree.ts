// Files by path as the folders they lie in, for who writes a file system in memory. Pure.

export interface Folder {
  folders: Map<string, Folder>;
  files: Map<string, { path: string; content: Buffer }>;
}

/** `files`: by path, such as `EFI/BOOT/BOOTX64.EFI`. */
export function treeOf(files: ReadonlyMap<string, Buffer>): Folder {
  const root: Folder = { folders: new Map(), files: new Map() };
  for (const [path, content] of files) {
    const names = path.split("/");
    let folder = root;
    for (const name of names.slice(0, -1)) {
      const next = folder.folders.get(name) ?? { folders: new Map(), files: new Map() };
      folder.folders.set(name, next);
      folder = next;
    }
    folder.files.set(names.at(-1)!, { path, content });
  }
  return root;
}
