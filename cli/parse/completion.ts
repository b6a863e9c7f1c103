// Completion scripts for bash, zsh, fish and PowerShell, made from the command table. Names of apps, machines, hosts and clusters are asked
// of `flynn complete WHAT`, which says nothing when the cluster does not answer at once.
import type { Command, Flag } from "./command.ts";
import { flagsOf } from "./parse.ts";

export const SHELLS = ["bash", "zsh", "fish", "powershell"] as const;
export type Shell = (typeof SHELLS)[number];

export function completionScript(shell: Shell, commands: readonly Command[]): string {
  const shown = commands.filter(({ hidden }) => !hidden);
  return { bash: bashScript, zsh: zshScript, fish: fishScript, powershell: powershellScript }[shell](shown);
}

const firstWords = (commands: readonly Command[]): string[] => [
  ...new Set(commands.map(({ words }) => words.split(" ")[0]!)),
];
const flagWords = (flags: readonly Flag[]): string[] =>
  flags.flatMap(({ name, short }) => [`--${name}`, ...(short ? [`-${short}`] : [])]);
/** Beginnings of commands and the words that may follow: `route` -> list, add, remove. */
function nextWords(commands: readonly Command[]): Map<string, string[]> {
  const next = new Map<string, string[]>();
  for (const { words } of commands) {
    const own = words.split(" ");
    for (let n = 1; n < own.length; n++) {
      const begin = own.slice(0, n).join(" ");
      next.set(begin, [...new Set([...(next.get(begin) ?? []), own[n]!])]);
    }
  }
  return next;
}

function bashScript(commands: readonly Command[]): string {
  const cases = (entries: Iterable<[string, string]>) =>
    [...entries].map(([words, given]) => `    "${words}") echo "${given}" ;;`).join("\n");
  const offers = commands.flatMap(({ words, args = [] }): [string, string][] =>
    args[0]?.offers ? [[words, args[0].offers]] : [],
  );
  const valued = [
    ...new Set(
      commands
        .flatMap(flagsOf)
        .filter(({ value }) => value !== undefined)
        .flatMap((flag) => flagWords([flag])),
    ),
  ];
  return `# bash completion for flynn. To load: source <(flynn completion bash)
_flynn_next() {
  case "$1" in
    "") echo "${firstWords(commands).join(" ")}" ;;
${cases([...nextWords(commands)].map(([words, next]) => [words, next.join(" ")]))}
  esac
}
_flynn_flags() {
  case "$1" in
${cases(commands.map((command) => [command.words, flagWords(flagsOf(command)).join(" ")]))}
    *) echo "--app -a --cluster -c --help -h" ;;
  esac
}
_flynn_offer() {
  case "$1" in
${cases(offers)}
  esac
}
_flynn() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" words="" word n skip=0 offer
  COMPREPLY=()
  case "$previous" in
    -a|--app) COMPREPLY=($(compgen -W "$(flynn complete apps 2>/dev/null)" -- "$current")); return ;;
    -c|--cluster) COMPREPLY=($(compgen -W "$(flynn complete clusters 2>/dev/null)" -- "$current")); return ;;
  esac
  for ((n = 1; n < COMP_CWORD; n++)); do
    word="\${COMP_WORDS[n]}"
    if ((skip)); then skip=0; continue; fi
    case "$word" in
      ${valued.join("|")}) skip=1 ;;
      -*) ;;
      *) [[ -n "$(_flynn_next "$words")" ]] && [[ " $(_flynn_next "$words") " == *" $word "* ]] && words="\${words:+$words }$word" ;;
    esac
  done
  if [[ "$current" == -* ]]; then
    COMPREPLY=($(compgen -W "$(_flynn_flags "$words")" -- "$current"))
    return
  fi
  offer="$(_flynn_offer "$words")"
  case "$offer" in
    "") ;;
    files) return ;; # complete -o default offers files
    *) offer="$(flynn complete "$offer" 2>/dev/null)" ;;
  esac
  COMPREPLY=($(compgen -W "$(_flynn_next "$words") $offer" -- "$current"))
}
complete -o default -F _flynn flynn
`;
}

/** zsh runs bash's functions by its bashcompinit (in sh emulation, arrays from 0): one set of rules. */
function zshScript(commands: readonly Command[]): string {
  return `#compdef flynn
# zsh completion for flynn. To load: source <(flynn completion zsh)
autoload -Uz compinit bashcompinit
(( $+functions[compdef] )) || compinit
bashcompinit
${bashScript(commands).replace(/^# bash completion.*\n/, "")}`;
}

function fishScript(commands: readonly Command[]): string {
  const quote = (text: string) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const at = (words: string) => quote(`__flynn_at ${words}`.trim());
  const lines = [
    "# fish completion for flynn. To load: flynn completion fish | source",
    "function __flynn_at",
    "  set -l words (commandline -opc)[2..-1]",
    "  set -l plain (string match -v -- '-*' $words)",
    '  test (string join " " -- $plain[1..(count $argv)]) = (string join " " -- $argv)',
    "end",
    "function __flynn_bare",
    "  test (count (string match -v -- '-*' (commandline -opc)[2..-1])) -eq 0",
    "end",
    "complete -c flynn -f",
    "complete -c flynn -s a -l app -x -a '(flynn complete apps 2>/dev/null)' -d 'App to act on'",
    "complete -c flynn -s c -l cluster -x -a '(flynn complete clusters 2>/dev/null)' -d 'Cluster to talk to'",
  ];
  for (const word of firstWords(commands)) {
    const summary = commands.find(({ words }) => words === word)?.summary ?? `${word} ...`;
    lines.push(`complete -c flynn -n __flynn_bare -a ${word} -d ${quote(summary)}`);
  }
  for (const [words, next] of nextWords(commands))
    lines.push(`complete -c flynn -n ${at(words)} -a ${quote(next.join(" "))}`);
  for (const { words, args = [], flags = [] } of commands) {
    const offer = args[0]?.offers;
    if (offer === "files") lines.push(`complete -c flynn -n ${at(words)} -F`);
    else if (offer)
      lines.push(`complete -c flynn -n ${at(words)} -a ${quote(`(flynn complete ${offer} 2>/dev/null)`)}`);
    for (const { name, short, value, help } of flags)
      lines.push(
        `complete -c flynn -n ${at(words)}${short ? ` -s ${short}` : ""} -l ${name}${value ? " -x" : ""} -d ${quote(help)}`,
      );
  }
  return `${lines.join("\n")}\n`;
}

/** Windows PowerShell 5.1 and PowerShell 7. Text in single quotes is as it stands there, but for the quote itself. */
function powershellScript(commands: readonly Command[]): string {
  const quote = (text: string) => `'${text.replaceAll("'", "''")}'`;
  const table = (entries: Iterable<readonly [string, readonly string[]]>) =>
    [...entries].map(([words, given]) => `  ${quote(words)} = @(${given.map(quote).join(", ")})`).join("\n");
  const offers = commands.flatMap(({ words, args = [] }): [string, string[]][] =>
    args[0]?.offers && args[0].offers !== "files" ? [[words, [args[0].offers]]] : [],
  );
  const flags = commands.map((command) => [command.words, flagWords(flagsOf(command))] as const);
  const valued = new Set(
    commands.flatMap(flagsOf).flatMap((flag) => (flag.value === undefined ? [] : flagWords([flag]))),
  );
  return `# PowerShell completion for flynn. To load: flynn completion powershell | Out-String | Invoke-Expression
$global:FlynnNext = @{
${table([["", firstWords(commands)], ...nextWords(commands)])}
}
$global:FlynnFlags = @{
${table(flags)}
}
$global:FlynnOffers = @{
${table(offers)}
}
$global:FlynnValued = @(${[...valued].map(quote).join(", ")})
Register-ArgumentCompleter -Native -CommandName 'flynn' -ScriptBlock {
  param($wordToComplete, $commandAst, $cursorPosition)
  $typed = @($commandAst.CommandElements | Select-Object -Skip 1 | Where-Object { $_.Extent.EndOffset -lt $cursorPosition } | ForEach-Object { $_.ToString() })
  $words = ''
  $skip = $false
  foreach ($word in $typed) {
    if ($skip) { $skip = $false; continue }
    if ($global:FlynnValued -ccontains $word) { $skip = $true; continue }
    if ($word.StartsWith('-')) { continue }
    if ($global:FlynnNext[$words] -ccontains $word) { $words = "$words $word".Trim() }
  }
  $last = if ($typed.Count -gt 0) { $typed[-1] } else { '' }
  $found = @()
  if ($last -ceq '-a' -or $last -ceq '--app') { $found = @(& flynn complete apps 2>$null) }
  elseif ($last -ceq '-c' -or $last -ceq '--cluster') { $found = @(& flynn complete clusters 2>$null) }
  elseif ($wordToComplete.StartsWith('-')) { $found = @($global:FlynnFlags[$words]) + @('--app', '--cluster', '--json', '--help') | Select-Object -Unique }
  else {
    $found = @($global:FlynnNext[$words])
    if ($global:FlynnOffers.ContainsKey($words)) { $found += @(& flynn complete $global:FlynnOffers[$words][0] 2>$null) }
  }
  $found | Where-Object { $_ -and $_.StartsWith($wordToComplete) } | ForEach-Object {
    [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
  }
}
`;
}
