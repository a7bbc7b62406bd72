/**
 * Where pgha-ctl prints and asks. An interface, because the commands are tested without a terminal; the real one reads
 * answers line by line from standard input, and takes its end for "aborted".
 */
import { createInterface, type Interface } from 'node:readline';
import { MOST_BYTES, printable, readText } from '../../config/text.ts';

export interface Terminal {
  /** Standard output is a terminal: progress may be shown, screens may be cleared. */
  readonly interactive: boolean;
  /** Standard input is a terminal: somebody types. */
  readonly keyboard: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** One line, or several, to standard output. */
  out(text: string): void;
  err(text: string): void;
  /** Shown on a terminal only, and overwritten by what comes next. */
  progress(text: string): void;
  /** Only where the output is a terminal. */
  clearScreen(): void;
  /** The line that was typed; null when there is no more input. */
  ask(question: string): Promise<string | null>;
  /** The same without showing what is typed. */
  askSecret(question: string): Promise<string | null>;
  /** Everything on standard input. @throws {Refusal} when it is no text, or too long */
  readAll(): Promise<string>;
  now(): Date;
  /** Minutes from local time to UTC at this instant, as Date has it. */
  zoneOffset(at: Date): number;
  sleep(ms: number): Promise<void>;
}

/** Could not be done, or was refused: exit code 1. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
}

/** Called wrongly: exit code 2. */
export class Misuse extends Error {
  override readonly name = 'Misuse';
}

/** An answer, the default for an empty one. @throws {Refusal} at the end of input */
export async function prompt(terminal: Terminal, question: string, byDefault?: string): Promise<string> {
  const answer = await terminal.ask(byDefault === undefined ? `${question}: ` : `${question} [${byDefault}]: `);
  if (answer === null)
    throw new Refusal('Aborted: there is no input to answer the question. Use --force to not be asked.');
  return answer.trim() === '' ? (byDefault ?? '') : answer.trim();
}

/** @throws {Refusal} unless the answer is yes */
export async function confirm(terminal: Terminal, question: string): Promise<void> {
  const answer = await terminal.ask(`${question} [y/N]: `);
  if (!/^y(es)?$/i.test((answer ?? '').trim())) throw new Refusal('Aborted: nothing was changed.');
}

export class ProcessTerminal implements Terminal {
  readonly interactive = process.stdout.isTTY === true;
  readonly keyboard = process.stdin.isTTY === true;
  readonly env = process.env;
  #lines: AsyncIterator<string> | null = null;
  #reader: Interface | null = null;
  #progressShown = false;

  out(text: string): void {
    this.#clearProgress();
    // A program gets what there is; whoever looks must not be steered by a name, a path or an answer.
    process.stdout.write(`${this.interactive ? harmless(text) : text}\n`);
  }

  err(text: string): void {
    this.#clearProgress();
    process.stderr.write(`${harmless(text)}\n`);
  }

  progress(text: string): void {
    if (!process.stderr.isTTY) return;
    process.stderr.write(`\r\x1b[K${harmless(text)}`);
    this.#progressShown = true;
  }

  clearScreen(): void {
    if (this.interactive) process.stdout.write('\x1b[2J\x1b[H');
  }

  async ask(question: string): Promise<string | null> {
    this.#clearProgress();
    process.stdout.write(harmless(question));
    if (this.#lines === null) {
      this.#reader = createInterface({ input: process.stdin });
      this.#lines = this.#reader[Symbol.asyncIterator]();
    }
    const next = await this.#lines.next();
    return next.done === true ? null : next.value;
  }

  async askSecret(question: string): Promise<string | null> {
    if (process.stdin.isTTY !== true) return await this.ask(question);
    this.#clearProgress();
    // Not to standard output, which may go into a file.
    process.stderr.write(harmless(question));
    // What the terminal sends is read key by key, and not sent back.
    process.stdin.setRawMode(true);
    try {
      return await typedInSecret(process.stdin);
    } finally {
      process.stdin.setRawMode(false);
      process.stdin.pause();
      process.stderr.write('\n');
    }
  }

  async readAll(): Promise<string> {
    const parts: Buffer[] = [];
    let length = 0;
    for await (const part of process.stdin) {
      parts.push(part as Buffer);
      length += (part as Buffer).length;
      if (length > MOST_BYTES) break;
    }
    const read = readText(Buffer.concat(parts));
    if (read.kind === 'none') throw new Refusal(`standard input, ${read.why}`);
    return read.text;
  }

  now(): Date {
    return new Date();
  }

  zoneOffset(at: Date): number {
    return at.getTimezoneOffset();
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, ms));
  }

  close(): void {
    this.#clearProgress();
    this.#reader?.close();
  }

  #clearProgress(): void {
    if (this.#progressShown) process.stderr.write('\r\x1b[K');
    this.#progressShown = false;
  }
}

/** What may be shown to somebody. Tabs stay: they part the columns of tsv. */
export const harmless = (text: string): string => text.split('\t').map(printable).join('\t');

/** Until the return key; null: Ctrl-C, Ctrl-D, or the end of the terminal. */
function typedInSecret(input: NodeJS.ReadStream): Promise<string | null> {
  return new Promise((resolve) => {
    let typed = '';
    const end = (answer: string | null): void => {
      input.off('data', read);
      input.off('end', gone);
      resolve(answer);
    };
    const gone = (): void => end(null);
    const read = (part: Buffer): void => {
      for (const key of part.toString('utf8')) {
        if ('\r\n\x03\x04'.includes(key)) {
          end(key === '\r' || key === '\n' ? typed : null);
          return;
        }
        typed = key === '\x7f' || key === '\b' ? [...typed].slice(0, -1).join('') : typed + key;
      }
    };
    input.on('data', read);
    input.on('end', gone);
    input.resume();
  });
}
