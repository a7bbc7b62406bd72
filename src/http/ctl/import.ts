/**
 * `import`: a file of repmgr, Patroni or pgpool becomes a pgha.yml, and a list says what became of every setting. Reads
 * that one file and writes one; it asks no cluster.
 */
import { lstat, open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { readBounded, withFiles } from '../../config/files.ts';
import type { Row, Verdict } from '../../config/import/draft.ts';
import { importConfig } from '../../config/import/import.ts';
import { KIND_NAMES, type Kind } from '../../config/import/kinds.ts';
import { splitAddress, splitList } from '../../config/units.ts';
import type { Session } from './session.ts';
import { printable } from './table.ts';
import { Misuse, Refusal } from './terminal.ts';

export interface ImportOptions {
  readonly from?: Kind;
  readonly output?: string;
  readonly force?: boolean;
  readonly scope?: string;
  /** Text with commas. */
  readonly etcd?: string;
  readonly node?: number;
  readonly format: 'pretty' | 'json';
}

export async function importFile(session: Session, path: string, options: ImportOptions): Promise<number> {
  const { terminal } = session;
  const etcd = splitList(options.etcd ?? '');
  const strange = etcd.find((one) => splitAddress(one.replace(/^https?:\/\//, '')) === null);
  if (strange !== undefined) throw new Misuse(`--etcd ${strange}: expected HOST:PORT[,HOST:PORT]`);
  if (options.scope !== undefined && !/^[^/\s]+$/.test(options.scope))
    throw new Misuse(`--scope ${options.scope}: a name without blanks and slashes is expected`);
  const bytes = await readRegular(path);
  const imported = await withFiles(({ readFile }) =>
    importConfig({
      bytes,
      from: options.from ?? null,
      answers: { scope: options.scope ?? null, etcd, node: options.node ?? null },
      readFile,
    }),
  );
  if (imported.kind === 'refused') {
    const said = imported.mistakes.map((mistake) => `  ${path}, ${printable(mistake)}`).join('\n');
    throw new Refusal(`${path} cannot be imported; nothing was written.\n${said}`);
  }
  const { from, yaml, rows } = imported;
  if (options.output !== undefined) await write(options.output, path, yaml, options.force === true);
  if (options.format === 'json') {
    terminal.out(
      JSON.stringify({ from, output: options.output ?? null, rows, ...(options.output === undefined ? { yaml } : {}) }),
    );
    return 0;
  }
  const listed = listOf(rows, `${path}: ${KIND_NAMES[from]}`, options.output ?? null);
  if (options.output !== undefined) terminal.out(listed);
  else {
    terminal.out(yaml.trimEnd());
    terminal.err(listed);
  }
  return 0;
}

// ---- files -------------------------------------------------------------------------------------------------------------------

async function readRegular(path: string): Promise<Uint8Array> {
  try {
    // A pipe that nobody writes to would be waited for.
    const about = await stat(path);
    if (!about.isFile())
      throw new Refusal(`${path} is ${about.isDirectory() ? 'a directory' : 'no regular file'}; nothing was written.`);
    return await readBounded(path);
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal(`${path} cannot be read: ${(error as Error).message}. Nothing was written.`);
  }
}

/** Readable by its owner only: it may hold passwords. Whole or not at all. */
async function write(path: string, imported: string, yaml: string, force: boolean): Promise<void> {
  if (!force) {
    await writeNew(path, yaml).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST')
        throw new Refusal(`${path} exists: it was left as it is, and nothing was written. --force writes over it.`);
      throw unwritable(path, error);
    });
    return;
  }
  if (await isSame(path, imported)) throw new Refusal(`${path} is the file that is imported; nothing was written.`);
  // The rename below would put a file in the place of /dev/null.
  const there = await lstat(path).catch(() => null);
  if (there !== null && !there.isFile() && !there.isSymbolicLink() && !there.isDirectory())
    throw new Refusal(`${path} is no regular file: it was left as it is, and nothing was written.`);
  const beside = join(dirname(path), `.${basename(path)}.${process.pid}.new`);
  try {
    await writeNew(beside, yaml);
    await rename(beside, path);
  } catch (error) {
    await rm(beside, { force: true }).catch(() => undefined);
    throw unwritable(path, error as Error);
  }
}

const unwritable = (path: string, error: Error): Refusal =>
  new Refusal(`${path} cannot be written: ${error.message}. Nothing was written.`);

async function writeNew(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } catch (error) {
    await rm(path, { force: true }).catch(() => undefined);
    throw error;
  } finally {
    await file.close();
  }
}

async function isSame(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([one, other].map((path) => stat(path).catch(() => null)));
  return a != null && b != null && a.ino === b.ino && a.dev === b.dev;
}

// ---- the list ----------------------------------------------------------------------------------------------------------------

const TITLES: readonly (readonly [Verdict, string])[] = [
  ['taken', 'Taken'],
  ['added', 'Added, because the file does not say it'],
  ['not needed', 'Not needed any more'],
  ['decide', 'Needs a decision, or a hand'],
];

export function listOf(rows: readonly Row[], title: string, output: string | null): string {
  const blocks = TITLES.flatMap(([verdict, name]) => {
    const chosen = rows.filter((row) => row.verdict === verdict);
    return chosen.length === 0
      ? []
      : [`\n${name} (${chosen.length})`, ...chosen.flatMap((row, index) => linesOf(row, chosen[index + 1]))];
  });
  const next =
    output === null
      ? 'Write it with -o FILE, then check it: pgha --validate-config FILE'
      : `${output} was written, and is usable as far as a file can tell: pgha --validate-config ${output}`;
  return [title, ...blocks, `\n${next}`].map(printable).join('\n');
}

/** A reason that the next row has too stands below that one. */
function linesOf({ line, name, value, became, why }: Row, next: Row | undefined): readonly string[] {
  const where = (line === null ? '' : `line ${line}`).padEnd(8);
  const shown = value === null || value === '' ? name : `${name} = ${value}`;
  const target = became === null || became === name ? '' : ` -> ${became}`;
  return [
    `  ${where}  ${shown}${target}`,
    ...(why === '' || why === next?.why ? [] : wrapped(why).map((part) => `            ${part}`)),
  ];
}

const WIDTH = 100;

function wrapped(text: string): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
