/**
 * Starts Postgres without the rights that a daemon has which moves an address (`vip`). Not for the sake of tidiness alone:
 * /proc shows where a process works only to those who may do at least as much as it, and a guard or a daemon with fewer
 * rights would not see a Postgres that it has to end.
 */
import { accessSync, constants, readFileSync } from 'node:fs';

const PLACES = ['/usr/bin/setpriv', '/bin/setpriv', '/usr/sbin/setpriv'];

let prefix: readonly string[] | null = null;

/** What goes before the command; empty where this process has nothing to hand on. */
export function droppingCapabilities(): readonly string[] {
  prefix ??= handsOn() ? dropping() : [];
  return prefix;
}

/** What a process that is no root hands on to what it starts: capabilities(7), "ambient". */
function handsOn(): boolean {
  try {
    const ambient = /^CapAmb:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
    return ambient !== undefined && BigInt(`0x${ambient}`) !== 0n;
  } catch {
    return false;
  }
}

function dropping(): readonly string[] {
  const program = PLACES.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  return program === undefined ? [] : [program, '--ambient-caps=-all', '--inh-caps=-all', '--'];
}
