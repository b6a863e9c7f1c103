export async function diskCommand(_: { seedFile: string; signal: AbortSignal }): Promise<void> {}
