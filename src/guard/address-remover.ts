/**
 * Takes the virtual address away when the guard strikes. The program that does it is started when nothing presses and
 * waits for a word: at the strike nothing is loaded from a disk that may hang, and the guard waits for nothing.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { monotonicMs } from './family.ts';
import type { AddressRemoval } from './wire.ts';

/** One that ends by itself is not started again more often. */
const START_EVERY_MS = 5_000;
/** While a strike keeps watch it is told so often. */
const TELL_EVERY_MS = 250;

export class AddressRemover {
  readonly removal: AddressRemoval;
  private readonly log: (sentence: string) => void;
  private child: ChildProcess | null = null;
  private startedAt = Number.NEGATIVE_INFINITY;
  private toldAt = Number.NEGATIVE_INFINITY;

  constructor(removal: AddressRemoval, log: (sentence: string) => void) {
    this.removal = removal;
    this.log = log;
    this.ready();
  }

  /** Before it is needed, or once nothing is left that has to be ended: a program on a disk that hangs holds the guard up. */
  ready(): void {
    if (this.child !== null || monotonicMs() - this.startedAt < START_EVERY_MS) return;
    this.startedAt = monotonicMs();
    const { program, args } = this.removal;
    try {
      const child = spawn(program, [...args], { stdio: ['pipe', 'ignore', 'ignore'], cwd: '/' });
      const gone = (): void => {
        if (this.child === child) this.child = null;
      };
      child.on('error', (error) => {
        this.log(`${program}, which is to remove the virtual address, does not run: ${String(error)}`);
        gone();
      });
      child.on('exit', gone);
      child.stdin?.on('error', gone);
      this.child = child;
    } catch (error) {
      this.log(`${program}, which is to remove the virtual address, cannot be started: ${String(error)}`);
    }
  }

  /** Returns at once, and starts nothing. What it is told while it hangs it does when it goes on. */
  remove(): void {
    if (this.child === null || monotonicMs() - this.toldAt < TELL_EVERY_MS) return;
    this.toldAt = monotonicMs();
    this.child.stdin?.write(this.removal.input);
  }

  end(): void {
    this.child?.stdin?.end();
    this.child = null;
  }
}
