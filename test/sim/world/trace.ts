/**
 * What happened in a world, line by line, and its fingerprint: the same plan must give the same hash. Also counts the
 * marks: facts that have to occur in some run, or a fault is missing.
 */

export interface TraceLine {
  readonly at: number;
  readonly who: string;
  readonly what: string;
}

export class Trace {
  private readonly lines: TraceLine[] = [];
  private readonly keep: number;
  private readonly echo: ((line: string) => void) | null;
  private state = 0x811c9dc5;
  private state2 = 0x1234567;
  readonly marks = new Map<string, number>();

  /**
   * @param keep - how many of the last lines to keep
   * @param echo - gets every line as it is written
   */
  constructor(keep: number, echo: ((line: string) => void) | null) {
    this.keep = keep;
    this.echo = echo;
  }

  line(at: number, who: string, what: string): void {
    const line = { at, who, what };
    this.lines.push(line);
    if (this.lines.length > 2 * this.keep) this.lines.splice(0, this.lines.length - this.keep);
    this.stir(`${at}|${who}|${what}`);
    this.echo?.(printLine(line));
  }

  /** Into the fingerprint only. */
  stir(text: string): void {
    for (let i = 0; i < text.length; i += 1) {
      const c = text.charCodeAt(i);
      this.state = Math.imul(this.state ^ c, 0x01000193);
      this.state2 = Math.imul(this.state2 + c, 0x85ebca6b) ^ (this.state2 >>> 13);
    }
  }

  mark(name: string): void {
    this.marks.set(name, (this.marks.get(name) ?? 0) + 1);
  }

  hash(): string {
    return (this.state >>> 0).toString(16).padStart(8, '0') + (this.state2 >>> 0).toString(16).padStart(8, '0');
  }

  tail(count: number): readonly string[] {
    return this.lines.slice(-count).map(printLine);
  }
}

export function printLine(line: TraceLine): string {
  return `${(line.at / 1000).toFixed(4).padStart(10)}  ${line.who.padEnd(6)} ${line.what}`;
}
