/**
 * The virtual address, by `ip` of iproute2. One `ip` is kept running and told what to do line by line: nothing has to be
 * loaded from a disk that may hang, and nothing is forked by the daemon while it leads. What goes out to the network
 * (arping) is started by a shell that is kept running as well.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import type { VipConfig } from '../config/schema.ts';
import type { Millis } from '../core/time.ts';
import type { AddressOutcome, VirtualAddress } from '../ports/virtual-address.ts';

export const PROGRAM_PLACES = ['/usr/sbin', '/sbin', '/usr/bin', '/bin', '/usr/local/sbin', '/usr/local/bin'];
/** So much of what a program says is kept. */
const SAID_AT_MOST = 256 * 1024;

/** Where a program is; null: not in any of the usual places. */
export function placeOfProgram(name: string): string | null {
  for (const place of PROGRAM_PLACES) {
    try {
      accessSync(`${place}/${name}`, constants.X_OK);
      return `${place}/${name}`;
    } catch {
      // The next one.
    }
  }
  return null;
}

const IP_ARGUMENTS = ['-force', '-json', '-batch', '-'] as const;

const removal = ({ addresses, interface: device }: VipConfig): string =>
  addresses.map((address) => `address del ${address} dev ${device}\n`).join('');

/** What the guard keeps ready; null: it has nothing to do it with. */
export function removalOf(
  config: VipConfig,
): { readonly program: string; readonly args: readonly string[]; readonly input: string } | null {
  const program = placeOfProgram('ip');
  return program === null ? null : { program, args: IP_ARGUMENTS, input: removal(config) };
}

type Answer =
  | Extract<AddressOutcome, { kind: 'failed' }>
  | { readonly kind: 'read'; readonly there: readonly string[] };

const failed = (said: string): { readonly kind: 'failed'; readonly said: string } => ({ kind: 'failed', said });

export class InterfaceAddress implements VirtualAddress {
  readonly name: string;
  private readonly config: VipConfig;
  private readonly ip: Companion;
  private readonly shell: Companion;
  private line: Promise<unknown> = Promise.resolve();
  private runs = 0;

  /** @param prefix - goes before each command: in tests, to another network */
  constructor(config: VipConfig, prefix: readonly string[] = []) {
    this.config = config;
    this.name = `${config.addresses.join(', ')} on ${config.interface}`;
    this.ip = new Companion('ip', IP_ARGUMENTS, prefix);
    this.shell = new Companion('sh', [], prefix);
    // Now, and not when it is needed: this node does not lead yet.
    this.ip.ready();
    this.shell.ready();
  }

  async hold(lifetime: Millis, limit: Millis): ReturnType<VirtualAddress['hold']> {
    const { addresses, interface: device } = this.config;
    const seconds = Math.round(lifetime / 1000);
    // Deprecated from the start: this machine's own connections never come from it. Without detection of duplicates,
    // which would keep an IPv6 address from being used for a second or two; and without a route of its own, because the
    // one of its network is there, and must not end with it.
    const put = addresses.map(
      (address) =>
        `address replace ${address} dev ${device} valid_lft ${seconds} preferred_lft 0${isIPv6(host(address)) ? ' nodad noprefixroute' : ''}\n`,
    );
    const [before, after] = await this.tell(['', put.join('')], limit);
    if (after === undefined || after.kind === 'failed') return after ?? failed('nobody answers');
    if (!this.all(after.there)) return failed('it is not there although nothing was wrong with putting it there');
    return { kind: 'here', wasThere: before?.kind === 'read' && this.all(before.there) };
  }

  async letGo(limit: Millis): ReturnType<VirtualAddress['letGo']> {
    const [after] = await this.tell([removal(this.config)], limit, true);
    if (after === undefined || after.kind === 'failed') return after ?? failed('nobody answers');
    return this.some(after.there) ? failed('it is still there') : { kind: 'absent' };
  }

  async look(limit: Millis): Promise<AddressOutcome> {
    const [found] = await this.tell([''], limit);
    if (found === undefined || found.kind === 'failed') return found ?? failed('nobody answers');
    return { kind: this.some(found.there) ? 'here' : 'absent' };
  }

  async announce(limit: Millis): Promise<string | null> {
    const { addresses, interface: device } = this.config;
    const silent = addresses.filter((address) => isIPv6(host(address)) && !announcesIpv6(device));
    const v4 = addresses.map(host).filter((address) => !isIPv6(address));
    const troubles = silent.length > 0 ? [`net.ipv6.conf.${device}.ndisc_notify is not 1`] : [];
    for (const address of v4) {
      const { code, said } = await this.run('arping', `-q -U -c 3 -w 3 -I ${device} ${address}`, limit);
      if (code !== 0) troubles.push(said);
    }
    return troubles.length === 0 ? null : troubles.join('; ');
  }

  /** Duplicate address detection, as RFC 5227 has it; for IPv4 alone. */
  async others(limit: Millis): Promise<readonly string[]> {
    const found = new Set<string>();
    for (const address of this.config.addresses.map(host)) {
      if (isIPv6(address)) continue;
      const { said } = await this.run('arping', `-D -c 1 -w 1 -I ${this.config.interface} ${address}`, limit);
      for (const [, mac = ''] of said.matchAll(/\[([0-9A-F]{2}(?::[0-9A-F]{2})+)\]/gi)) found.add(mac.toLowerCase());
    }
    return [...found];
  }

  close(): void {
    this.ip.end();
    this.shell.end();
  }

  private all = (there: readonly string[]): boolean => this.config.addresses.every((one) => there.includes(one));
  private some = (there: readonly string[]): boolean => this.config.addresses.some((one) => there.includes(one));

  /** One after the other: each step is followed by a look at the interface. @param lax - its own errors do not matter */
  private tell(steps: readonly string[], limit: Millis, lax = false): Promise<readonly Answer[]> {
    const asked = this.line.then(() => this.tellNow(steps, limit, lax));
    this.line = asked;
    return asked;
  }

  private async tellNow(steps: readonly string[], limit: Millis, lax: boolean): Promise<readonly Answer[]> {
    const show = `address show dev ${this.config.interface}\n`;
    const { lines, said } = await this.ip.ask(
      steps.map((step) => `${step}${show}`).join(''),
      limit,
      // Each look shows the interface, or says that there is none: what is said later would count as the next answer.
      (so) => so.lines.length + (so.said.match(/does not exist/g) ?? []).length >= steps.length,
    );
    const why = whatIsWrong(said);
    // One that hangs; and an interface that has gone and comes back has another number, which this one would not learn.
    const isMissing = /does not exist|^Cannot find device/m.test(said);
    if ((lines.length < steps.length && !isMissing) || /No such device/.test(said)) this.ip.end();
    if (lines.length < steps.length || (why !== null && !lax))
      return steps.map(() => failed(why ?? `ip did not answer within ${limit} ms`));
    return lines.map((text) => read(text, this.config.interface));
  }

  /** Beside whatever else runs in that shell. */
  private async run(program: string, args: string, limit: Millis): Promise<{ code: number; said: string }> {
    const id = `#${this.runs++}`;
    const command = `timeout ${Math.ceil(limit / 1000)} ${program} ${args} 2>&1 </dev/null`;
    const { lines } = await this.shell.ask(`( said=$(${command}); echo "${id} $?" $said ) &\n`, limit, (so) =>
      so.lines.some((line) => line.startsWith(`${id} `)),
    );
    const answer = lines.find((line) => line.startsWith(`${id} `))?.slice(id.length + 1);
    if (answer === undefined) return { code: -1, said: `${program} did not end within ${limit} ms` };
    const [code = '', ...said] = answer.split(' ');
    if (code === '127') return { code: 127, said: `${program} is not installed` };
    return { code: Number(code), said: said.length === 0 ? `${program} failed` : said.join(' ') };
  }
}

const host = (address: string): string => address.split('/')[0] ?? '';

function announcesIpv6(device: string): boolean {
  const asked = (of: string): string => {
    try {
      return readFileSync(`/proc/sys/net/ipv6/conf/${of}/ndisc_notify`, 'utf8').trim();
    } catch {
      return '0';
    }
  };
  return asked(device) === '1' || asked('all') === '1';
}

/** The addresses on the interface, as `ADDRESS/LENGTH`. */
function read(json: string, device: string): Answer {
  try {
    const links = JSON.parse(json) as readonly {
      readonly ifname?: string;
      readonly addr_info?: readonly { readonly local?: string; readonly prefixlen?: number }[];
    }[];
    const link = links.find(({ ifname }) => ifname === device);
    if (link === undefined) return failed(`there is no interface ${device}`);
    const there = (link.addr_info ?? []).flatMap(({ local, prefixlen }) =>
      local === undefined || prefixlen === undefined ? [] : [`${local}/${prefixlen}`],
    );
    return { kind: 'read', there };
  } catch {
    return failed(`ip said what is not understood: ${json.slice(0, 200)}`);
  }
}

/** In words that say what to do; null: nothing is wrong. */
export function whatIsWrong(said: string): string | null {
  const [line = ''] = said.split('\n').filter((one) => one.trim() !== '' && !one.startsWith('Command failed'));
  if (line === '') return null;
  if (/not permitted/i.test(line))
    return 'this process may not change interfaces: it needs CAP_NET_ADMIN (see vip.md for the drop-in of its unit)';
  const missing = /(?:Cannot find device|Device) "([^"]+)"/.exec(line)?.[1];
  if (missing !== undefined) return `there is no interface ${missing} on this machine`;
  return line.replace(/^(Error: )+/, '');
}

interface Heard {
  /** Whole lines on its standard output. */
  readonly lines: readonly string[];
  readonly said: string;
}

interface Question {
  lines: string[];
  said: string;
  readonly look: () => void;
}

/** A program that is kept running and told what to do on its standard input; one that has ended is started anew. */
class Companion {
  private readonly program: string;
  private readonly args: readonly string[];
  private readonly prefix: readonly string[];
  private path: string | null = null;
  private child: ChildProcess | null = null;
  private readonly questions = new Set<Question>();

  constructor(program: string, args: readonly string[], prefix: readonly string[]) {
    this.program = program;
    this.args = args;
    this.prefix = prefix;
  }

  /** @returns false: it cannot be started */
  ready(): boolean {
    if (this.child !== null) return true;
    this.path ??= placeOfProgram(this.program);
    const { path } = this;
    if (path === null) return false;
    const [first = path, ...args] = [...this.prefix, path, ...this.args];
    const child = spawn(first, args, {
      stdio: 'pipe',
      cwd: '/',
      env: { PATH: PROGRAM_PLACES.join(':'), LANG: 'C' },
    });
    const gone = (): void => {
      if (this.child !== child) return;
      this.child = null;
      for (const { look } of this.questions) look();
    };
    child.on('error', gone);
    child.on('exit', gone);
    child.stdin.on('error', gone);
    let rest = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const [last = '', ...lines] = `${rest}${text}`.split('\n').reverse();
      rest = last.slice(-SAID_AT_MOST);
      // What one says that was ended is the answer to nothing that was asked since.
      if (this.child !== child) return;
      for (const question of this.questions) {
        question.lines.push(...lines.toReversed());
        question.look();
      }
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (this.child !== child) return;
      for (const question of this.questions) {
        question.said = `${question.said}${text}`.slice(-SAID_AT_MOST);
        question.look();
      }
    });
    child.unref();
    this.child = child;
    return true;
  }

  /** Ends with the limit at the latest. @param done - whether that is the whole answer */
  async ask(input: string, limit: Millis, done: (heard: Heard) => boolean): Promise<Heard> {
    if (!this.ready()) return { lines: [], said: `${this.program} is not installed` };
    const { child } = this;
    return await new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        this.questions.delete(question);
        resolve(question);
      };
      const timer = setTimeout(end, limit);
      const question: Question = {
        lines: [],
        said: '',
        look: () => {
          // What it has said on the other pipe before has arrived by then.
          if (this.child !== child || done(question)) setImmediate(end);
        },
      };
      this.questions.add(question);
      child?.stdin?.write(input);
    });
  }

  /** What it has not done by now it does not do any more. */
  end(): void {
    const { child } = this;
    this.child = null;
    child?.stdin?.end();
    child?.kill('SIGKILL');
    for (const { look } of this.questions) look();
  }
}
