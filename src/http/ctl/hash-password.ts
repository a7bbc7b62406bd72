/** `hash-password`: a password as it may stand in the configuration of every node; nobody gets it back from that. */
import { hashPassword } from '../../config/password-hash.ts';
import { Misuse, Refusal, type Terminal } from './terminal.ts';

export async function hashTyped(terminal: Terminal): Promise<number> {
  const password = await readPassword(terminal);
  if (password === '') throw new Misuse('an empty password is none');
  if (/[\r\n]/.test(password)) throw new Misuse('more than one line was given: a password is one');
  terminal.out(await hashPassword(password));
  return 0;
}

async function readPassword(terminal: Terminal): Promise<string> {
  if (!terminal.keyboard) return (await terminal.readAll()).replace(/\r?\n$/, '');
  const first = await terminal.askSecret('Password: ');
  if (first === null) throw new Refusal('Aborted.');
  const again = await terminal.askSecret('Again: ');
  if (first !== again) throw new Refusal('The two are not the same.');
  return first;
}
