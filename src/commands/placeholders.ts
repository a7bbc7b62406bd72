/**
 * Fills the placeholders of an operator's command (`%n`, `%e`, ...) the way repmgr and pgpool know them, for a shell.
 * Values never stand in the text: the shell takes them from its environment, and what it takes from there it does not
 * read as commands, wherever that is: in quotes, here-documents or substitutions. How a value is kept one word follows
 * from the quotes around it.
 */

export type Placeholders = Readonly<Record<string, string>>;

export interface Expanded {
  readonly command: string;
  /** What `command` refers to; it has to be in the environment of the shell. */
  readonly env: Readonly<Record<string, string>>;
  /** `%x` that nobody knows, each once; they stay in the text as they are, as with repmgr. */
  readonly unknown: readonly string[];
}

/** @param values - letter to text; `%%` is always a percent sign */
export function expandPlaceholders(template: string, values: Placeholders): Expanded {
  let quote: 'none' | 'single' | 'double' = 'none';
  let command = '';
  const env: Record<string, string> = {};
  const unknown = new Set<string>();
  for (let i = 0; i < template.length; i++) {
    const c = template[i] ?? '';
    if (c === '%' && i + 1 < template.length) {
      const letter = template[++i] ?? '';
      if (letter === '%') command += '%';
      else if (Object.hasOwn(values, letter)) {
        const name = `PGHA_PLACEHOLDER_${letter}`;
        env[name] = (values[letter] ?? '').replace(/[\0\r\n]+/g, ' ');
        command += reference(name, quote);
      } else {
        unknown.add(`%${letter}`);
        command += `%${letter}`;
      }
      continue;
    }
    if (c === '\\' && quote !== 'single') {
      command += c + (template[++i] ?? '');
      continue;
    }
    if (c === "'" && quote !== 'double') quote = quote === 'single' ? 'none' : 'single';
    else if (c === '"' && quote !== 'single') quote = quote === 'double' ? 'none' : 'double';
    command += c;
  }
  return { command, env, unknown: [...unknown] };
}

function reference(name: string, where: 'none' | 'single' | 'double'): string {
  if (where === 'double') return `\${${name}}`;
  return where === 'single' ? `'"\${${name}}"'` : `"\${${name}}"`;
}
