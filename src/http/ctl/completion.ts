/**
 * `completion`: a script that has bash, zsh or fish complete commands, options and the fixed words behind them. Made from the
 * commands themselves; it asks no cluster.
 */
import type { Command, Option } from 'commander';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

interface Words {
  /** Options, and arguments that are fixed words. */
  readonly words: readonly string[];
  /** What may follow an option. */
  readonly values: readonly (readonly [flags: readonly string[], choices: readonly string[] | 'file'])[];
}

export function completionScript(program: Command, shell: Shell): string {
  return shell === 'fish' ? fishScript(program) : bashScript(program, shell);
}

/** One line for each thing that can be typed; fish itself finds out where. */
function fishScript(program: Command): string {
  const quoted = (text: string): string => `'${text.replace(/[\\']/g, '\\$&')}'`;
  const optionLines = (command: Command, condition: string): string[] =>
    command.options
      .filter((option) => !option.hidden)
      .map((option) => {
        const short = option.short === undefined ? '' : ` -s ${option.short.replace(/^-/, '')}`;
        const long = option.long === undefined ? '' : ` -l ${option.long.replace(/^--/, '')}`;
        const values = /<file>/.test(option.flags)
          ? ' -r -F'
          : option.argChoices !== undefined
            ? ` -x -a ${quoted(option.argChoices.join(' '))}`
            : option.required
              ? ' -x'
              : '';
        return `complete -c pgha-ctl -n ${quoted(condition)}${short}${long}${values} -d ${quoted(option.description)}`;
      });
  const commands = program.commands.flatMap((command) => {
    const name = command.name();
    const here = `__fish_seen_subcommand_from ${name}`;
    const fixed = command.registeredArguments.flatMap((argument) => argument.argChoices ?? []);
    const words = [...fixed, ...(name === 'flush' ? FLUSHED : [])];
    return [
      `complete -c pgha-ctl -n __fish_use_subcommand -a ${name} -d ${quoted(command.description())}`,
      ...(words.length === 0 ? [] : [`complete -c pgha-ctl -n ${quoted(here)} -a ${quoted(words.join(' '))}`]),
      ...optionLines(command, here),
    ];
  });
  return [
    '# fish completion of pgha-ctl: pgha-ctl completion fish > ~/.config/fish/completions/pgha-ctl.fish',
    'complete -c pgha-ctl -f',
    ...optionLines(program, '__fish_use_subcommand'),
    ...commands,
  ].join('\n');
}

function bashScript(program: Command, shell: Shell): string {
  const commands = program.commands.map((command) => [command.name(), wordsOf(command)] as const);
  const own = wordsOf(program);
  const names = commands.map(([name]) => name);
  const cases = commands.map(([name, { words, values }]) => {
    const follow = values.map(([flags, choices]) => `          ${flags.join('|')}) ${reply(choices)}; return ;;`);
    return [
      `      ${name})`,
      '        case "$before" in',
      ...follow,
      '        esac',
      `        COMPREPLY=($(compgen -W "${words.join(' ')}" -- "$word")) ;;`,
    ].join('\n');
  });
  const patronictl = 'complete -o default -F _pgha_ctl patronictl 2>/dev/null';
  return [
    `# ${shell} completion of pgha-ctl. Put it where your shell looks for such files, or: source <(pgha-ctl completion ${shell})`,
    ...(shell === 'zsh' ? ['autoload -Uz compinit bashcompinit && compinit -C && bashcompinit'] : []),
    '_pgha_ctl() {',
    `  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}" command="" i`,
    '  for ((i = 1; i < COMP_CWORD; i++)); do',
    `    case "\${COMP_WORDS[i]}" in`,
    `      ${names.join('|')}) command="\${COMP_WORDS[i]}"; break ;;`,
    '    esac',
    '  done',
    '  case "$command" in',
    ...cases,
    '      *)',
    '        case "$before" in',
    ...own.values.map(([flags, choices]) => `          ${flags.join('|')}) ${reply(choices)}; return ;;`),
    '        esac',
    `        COMPREPLY=($(compgen -W "${[...names, ...own.words].join(' ')}" -- "$word")) ;;`,
    '  esac',
    '}',
    'complete -o default -F _pgha_ctl pgha-ctl',
    '# For those who have alias patronictl=pgha-ctl.',
    `[ -n "\${BASH_ALIASES[patronictl]-}" ] && ${patronictl}`,
    'true',
  ].join('\n');
}

const reply = (choices: readonly string[] | 'file'): string =>
  choices === 'file'
    ? 'COMPREPLY=($(compgen -f -- "$word"))'
    : `COMPREPLY=($(compgen -W "${choices.join(' ')}" -- "$word"))`;

function wordsOf(command: Command): Words {
  const options: readonly Option[] = command.options.filter((option) => !option.hidden);
  const flagsOf = ({ short, long }: Option): string[] => [short, long].filter((flag) => flag !== undefined) as string[];
  const fixed = command.registeredArguments.flatMap((argument) => argument.argChoices ?? []);
  const takesFile = /<file>/;
  return {
    words: [...options.flatMap(flagsOf), '--help', ...fixed, ...(command.name() === 'flush' ? FLUSHED : [])],
    values: options.flatMap((option): Words['values'][number][] => {
      if (option.argChoices !== undefined) return [[flagsOf(option), option.argChoices]];
      return takesFile.test(option.flags) ? [[flagsOf(option), 'file']] : [];
    }),
  };
}

const FLUSHED = ['restart', 'switchover'];
