/**
 * A Chromium without a screen on a host of the test network, driven over its DevTools protocol through two pipes: a
 * page is opened at a size, asked by expressions, and looked at. Notes all that the page asks of anybody and every
 * error that the browser reports. Knows nothing of what the page is.
 */
import type { ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { browser as program } from '../../../scripts/ensure.mjs';
import { launch, serverDirectory } from './launch.ts';
import type { Host } from './network.ts';
import { until } from './time.ts';

type Json = Readonly<Record<string, unknown>>;

interface Message {
  readonly id?: number;
  readonly sessionId?: string;
  readonly method?: string;
  readonly params?: Json;
  readonly result?: Json;
  readonly error?: { readonly message: string };
}

/** A browser has to start, on a machine on which much else runs. */
const ANSWER_LIMIT_MS = 60_000;

export class Browser {
  private readonly child: ChildProcess;
  private readonly waiting = new Map<number, { resolve: (result: Json) => void; reject: (error: Error) => void }>();
  private readonly pages = new Map<string, (method: string, params: Json) => void>();
  private next = 1;
  private unread = '';

  private constructor(child: ChildProcess) {
    this.child = child;
    const reading = child.stdio[4] as Readable;
    reading.setEncoding('utf8');
    reading.on('data', (text: string) => this.read(text));
    for (const pipe of [reading, child.stdio[3] as Writable]) pipe.on('error', () => undefined);
    child.on('exit', () => {
      for (const { reject } of this.waiting.values()) reject(new Error('the browser has ended'));
    });
  }

  /** @param directory - what it keeps, and its log */
  static start(host: Host, directory: string): Browser {
    const place = serverDirectory(join(directory, 'browser'));
    const child = launch({
      host,
      program: program() ?? 'chromium',
      // Without its own sandbox, for which this account lacks the right; it looks at nothing but this test's own pages.
      args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars']
        .concat('--no-first-run', '--disable-background-networking', '--disable-component-update', '--mute-audio')
        .concat(`--user-data-dir=${place}/profile`, '--remote-debugging-pipe'),
      log: join(place, 'browser.log'),
      cwd: place,
      asServer: true,
      pipes: true,
      env: { HOME: place, XDG_CONFIG_HOME: place, XDG_CACHE_HOME: place },
    });
    return new Browser(child);
  }

  /** A page that is shown at this size; its address is opened by {@link Page.go}. */
  async page(width: number, height: number, scheme: 'light' | 'dark' = 'light'): Promise<Page> {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    const ask = (method: string, params: Json = {}): Promise<Json> => this.send(method, params, String(sessionId));
    const page = new Page(ask);
    this.pages.set(String(sessionId), (method, params) => page.hear(method, params));
    for (const domain of ['Page', 'Runtime', 'Network', 'Log']) await ask(`${domain}.enable`);
    const phone = width < 600;
    await ask('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: phone });
    await ask('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
    return page;
  }

  async close(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.send('Browser.close', {}).catch(() => undefined);
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 5_000);
    await ended;
    clearTimeout(timer);
  }

  private send(method: string, params: Json, sessionId?: string): Promise<Json> {
    const id = this.next++;
    return new Promise<Json>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the browser does not answer to ${method}`)), ANSWER_LIMIT_MS);
      const done = (): void => {
        clearTimeout(timer);
        this.waiting.delete(id);
      };
      this.waiting.set(id, {
        resolve: (result) => {
          done();
          resolve(result);
        },
        reject: (error) => {
          done();
          reject(error);
        },
      });
      const message = { id, method, params, ...(sessionId === undefined ? {} : { sessionId }) };
      (this.child.stdio[3] as Writable).write(`${JSON.stringify(message)}\0`);
    });
  }

  private read(text: string): void {
    const messages = (this.unread + text).split('\0');
    this.unread = messages.pop() ?? '';
    for (const one of messages) {
      const { id, sessionId = '', method, params = {}, result = {}, error } = JSON.parse(one) as Message;
      if (method !== undefined) this.pages.get(sessionId)?.(method, params);
      const waiting = id === undefined ? undefined : this.waiting.get(id);
      if (error === undefined) waiting?.resolve(result);
      else waiting?.reject(new Error(error.message));
    }
  }
}

export class Page {
  /** Addresses of everything that was asked for, also what was refused. */
  readonly requests: string[] = [];
  /** What stands in the console as an error or a warning, exceptions, and what the browser refused to do. */
  readonly errors: string[] = [];
  private readonly ask: (method: string, params?: Json) => Promise<Json>;

  constructor(ask: Page['ask']) {
    this.ask = ask;
  }

  async go(url: string): Promise<void> {
    await this.ask('Page.navigate', { url });
    await this.until('the page is there', "document.readyState === 'complete' && location.href !== 'about:blank'");
  }

  /** The value of this expression in the page. */
  async value<T>(expression: string): Promise<T> {
    const answer = await this.ask('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true });
    if (answer['exceptionDetails'] !== undefined) throw new Error(JSON.stringify(answer['exceptionDetails']));
    return (answer['result'] as { value: T }).value;
  }

  /** @throws when time is up, with what the page then shows */
  async until(what: string, expression: string, limitMs = 30_000): Promise<void> {
    try {
      await until(what, limitMs, () => this.value<boolean>(expression));
    } catch (error) {
      const shown = await this.value<string>('document.body.innerText').catch(String);
      throw new Error(`${what}: not within ${limitMs} ms; the page shows\n${shown}`, { cause: error });
    }
  }

  /** The whole page, as long as it is. @param path - a PNG file */
  async screenshot(path: string): Promise<void> {
    const { data } = await this.ask('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true });
    writeFileSync(path, Buffer.from(String(data), 'base64'));
  }

  hear(method: string, params: Json): void {
    switch (method) {
      case 'Network.requestWillBeSent':
        this.requests.push((params['request'] as { url: string }).url);
        break;
      case 'Log.entryAdded':
        this.note(params['entry'] as Json);
        break;
      case 'Runtime.exceptionThrown':
        this.errors.push(JSON.stringify(params['exceptionDetails']));
        break;
      case 'Runtime.consoleAPICalled':
        if (params['type'] !== 'log') this.errors.push(JSON.stringify(params['args']));
        break;
      case 'Page.javascriptDialogOpening':
        // Whoever asks "really?" is told yes.
        this.ask('Page.handleJavaScriptDialog', { accept: true }).catch(() => undefined);
        break;
      default:
    }
  }

  private note({ level, text, url }: Json): void {
    if (level === 'error' || level === 'warning') this.errors.push(`${text} ${url ?? ''}`);
  }
}
