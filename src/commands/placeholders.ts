/**
 * Fills the placeholders of an operator's command (`%n`, `%e`, ...) the way repmgr and pgpool know them, for a shell.
 * A value can never end its word or start another command: how it is quoted follows from where it stands in the text.
 */

export type Placeholders = Readonly<Record<string, string>>;

export interface Expanded {
  readonly command: string;
  /** `%x` that nobody knows, each once; they stay in the text as they are, as with repmgr. */
  readonly unknown: readonly string[];
}

/** @param values - letter to text; `%%` is always a percent sign */
export function expandPlaceholders(template: string, values: Placeholders): Expanded {
  let quote: 'none' | 'single' | 'double' = 'none';
  let command = '';
  const unknown = new Set<string>();
  for (let i = 0; i < template.length; i++) {
    const c = template[i] ?? '';
    if (c === '%' && i + 1 < template.length) {
      const letter = template[++i] ?? '';
      if (letter === '%') command += '%';
      else if (Object.hasOwn(values, letter)) command += quoted(values[letter] ?? '', quote);
      else {
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
  return { command, unknown: [...unknown] };
}

function quoted(value: string, where: 'none' | 'single' | 'double'): string {
  const line = value.replace(/[\0\r\n]+/g, ' ');
  if (where === 'double') return line.replace(/["\\$`]/g, '\\$&');
  const inside = line.replaceAll("'", "'\\''");
  return where === 'single' ? inside : `'${inside}'`;
}
