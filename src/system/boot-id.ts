/** Names this boot of the machine. What must not outlive a reboot carries it, in case the runtime directory does. */
import { readFileSync } from 'node:fs';

/** Synchronous: /proc, not a disk. `unknown` where the kernel does not tell. */
export function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  } catch {
    return 'unknown';
  }
}
