/**
 * The kernel's watchdog device: opened when leadership is armed for, pinged while it is proven, and closed with the
 * magic letter when there is nothing to guard any more. Whoever stops pinging it gets the machine reset. It sets no
 * timeout (that takes an ioctl, which Node has not): it reads from sysfs what the driver has, and refuses what does not
 * fit.
 */
import { accessSync, closeSync, constants, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { instant, type Millis, millis } from '../core/time.ts';
import { longestTimeout, misfitOfTimeout, resetBy, type WatchdogState } from '../core/watchdog.ts';
import { monotonicMs } from './family.ts';

export interface WatchdogOptions {
  readonly mode: 'automatic' | 'required';
  readonly device: string;
  /** Milliseconds; null: as little as there may be. */
  readonly safetyMarginMs: number | null;
  /** `testing`: anything that can be written to is a device, and has the longest timeout that fits. */
  readonly driver: 'default' | 'testing';
}

/** For how long the device has to be kept alive. */
export interface Proven {
  /** CLOCK_MONOTONIC, milliseconds: the last instant of the window. */
  readonly until: number;
  readonly ttl: number;
}

const PING_EVERY_MS = 500;
/** What opening it came to is believed for so long: whoever holds it may let go. */
const TRY_AGAIN_MS = 10_000;
/** linux/watchdog.h: closing after this letter stops the device, unless it was built never to stop. */
const MAGIC = 'V';
/** Documentation/admin-guide/devices.txt: /dev/watchdog itself is a misc device, and stands for the first one. */
const MISC = '10:130';

export class WatchdogDevice {
  readonly options: WatchdogOptions;
  private readonly log: (sentence: string) => void;
  private readonly sysfs: string;
  private fd: number | null = null;
  private proven: Proven | null = null;
  private timer: NodeJS.Timeout | null = null;
  private failed: { readonly why: string; readonly at: number } | null = null;

  constructor(options: WatchdogOptions, log: (sentence: string) => void, sysfs = '/sys') {
    this.options = options;
    this.log = log;
    this.sysfs = sysfs;
  }

  get isOpen(): boolean {
    return this.fd !== null;
  }

  /** Looks without opening, which would start it. */
  look(): WatchdogState {
    const { device, driver } = this.options;
    const unusable = (why: string): WatchdogState => ({ kind: 'unusable', device, why });
    if (this.failed !== null && monotonicMs() - this.failed.at < TRY_AGAIN_MS) return unusable(this.failed.why);
    try {
      const stat = statSync(device);
      accessSync(device, constants.W_OK);
      if (driver === 'testing') return { kind: 'ready', device, timeout: null };
      if (!stat.isCharacterDevice()) return unusable('it is not a character device');
      const said = this.read(stat.rdev, 'timeout');
      const timeout = Number(said);
      if (said === null || !Number.isFinite(timeout) || timeout <= 0)
        return unusable('its timeout cannot be read below /sys (the kernel needs CONFIG_WATCHDOG_SYSFS)');
      return { kind: 'ready', device, timeout: millis(timeout * 1000) };
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') return unusable('it does not exist');
      return unusable(code === 'EACCES' ? 'this user may not write to it' : String(error));
    }
  }

  /**
   * Opens it where it is not open yet, and keeps it alive for as long as `proven` allows, and not a moment longer.
   *
   * @returns why there is no device that runs; null: there is one
   */
  keepFor(proven: Proven): string | null {
    const state = this.look();
    if (this.fd === null && state.kind === 'unusable') return state.why;
    const timeout = this.timeoutFor(state, proven);
    if (typeof timeout === 'string') {
      // Of the rest of the window it must not say more than the guard does.
      this.proven = null;
      return timeout;
    }
    this.proven = proven;
    if (this.fd === null) {
      if (!this.allows(timeout)) return 'the proof came too late for its timeout';
      const why = this.open();
      if (why !== null) return why;
    }
    this.ping();
    return this.fd === null ? (this.failed?.why ?? 'it is gone') : null;
  }

  /** The deadline was cut: nothing that was proven is good for a further ping. */
  doubt(): void {
    this.proven = null;
  }

  /** No ping is allowed any more, and the device will fire. */
  get isRunningOut(): boolean {
    if (this.fd === null) return false;
    const timeout = this.proven === null ? null : this.timeoutFor(this.look(), this.proven);
    return typeof timeout !== 'number' || !this.allows(timeout);
  }

  /**
   * There is nothing to guard: stops the device, also one that a guard before this one has left running.
   *
   * @param leftBehind - one that ended without a word may have had it open
   */
  end(leftBehind = false): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    this.proven = null;
    if (this.fd === null && (!leftBehind || this.open() !== null)) return;
    const { fd } = this;
    this.fd = null;
    if (fd === null) return;
    try {
      if (this.read(statSync(this.options.device).rdev, 'nowayout') === '1')
        this.log(`${this.options.device} was built never to stop: the machine is reset unless it is opened again`);
      writeSync(fd, MAGIC);
    } catch (error) {
      this.log(`${this.options.device} could not be stopped: ${String(error)}`);
    }
    closeSync(fd);
    this.log(`${this.options.device} is closed`);
  }

  private timeoutFor(state: WatchdogState, { ttl }: Proven): Millis | string {
    if (state.kind !== 'ready') return state.kind === 'unusable' ? state.why : 'there is none';
    const { safetyMarginMs } = this.options;
    const safety = safetyMarginMs === null ? null : millis(safetyMarginMs);
    if (state.timeout === null) return longestTimeout(millis(ttl), safety);
    return misfitOfTimeout(state.timeout, millis(ttl), safety) ?? state.timeout;
  }

  /** A ping now would let the machine run until now + timeout: no longer than the window lasts, with its reserve. */
  private allows(timeout: Millis): boolean {
    return this.proven !== null && monotonicMs() + timeout <= this.resetBy(this.proven);
  }

  private resetBy({ until, ttl }: Proven): number {
    const { safetyMarginMs } = this.options;
    return resetBy(instant(until), millis(ttl), safetyMarginMs === null ? null : millis(safetyMarginMs));
  }

  private open(): string | null {
    const { device } = this.options;
    try {
      // A fifo without a reader is refused instead of waited for.
      this.fd = openSync(device, constants.O_WRONLY | constants.O_NONBLOCK);
      this.failed = null;
      this.log(`${device} is open: the machine is reset when it is not kept alive`);
      return null;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const why = code === 'EBUSY' ? 'somebody else has it open' : `it cannot be opened (${code ?? String(error)})`;
      this.failed = { why, at: monotonicMs() };
      return why;
    }
  }

  private ping(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    if (this.fd === null || this.proven === null) return;
    const timeout = this.timeoutFor(this.look(), this.proven);
    if (typeof timeout !== 'number' || !this.allows(timeout)) return;
    try {
      writeSync(this.fd, '.');
    } catch (error) {
      // A fifo that nobody empties; a device has no such thing, and one that fails fires.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') {
        const why = `it cannot be pinged (${String(error)})`;
        if (this.failed?.why !== why) this.log(`${this.options.device}: ${why}`);
        this.failed = { why, at: monotonicMs() };
      }
    }
    // The last one exactly when it is still allowed: the device then fires after the guard has had its time, not before.
    const last = this.resetBy(this.proven) - timeout - monotonicMs();
    this.timer = setTimeout(
      () => this.ping(),
      Math.max(1, Math.min(PING_EVERY_MS, last > 2 ? last - 1 : PING_EVERY_MS)),
    );
  }

  /** An attribute of the device's driver; null: not there. */
  private read(rdev: number, attribute: string): string | null {
    // How glibc packs device numbers.
    const major = ((rdev >>> 8) & 0xfff) | (Math.floor(rdev / 2 ** 32) & ~0xfff);
    const minor = (rdev & 0xff) | (Math.floor(rdev / 2 ** 12) & 0xfff00);
    const number = `${major}:${minor}`;
    const home = number === MISC ? `${this.sysfs}/class/watchdog/watchdog0` : `${this.sysfs}/dev/char/${number}`;
    try {
      return readFileSync(`${home}/${attribute}`, 'utf8').trim();
    } catch {
      return null;
    }
  }
}
