/**
 * Tells the service manager how far the daemon is. Node has no unix datagram sockets, so systemd's own program sends
 * the message (NotifyAccess=all in the unit). Nothing waits for it for long, and nothing depends on it.
 */
import { execFile } from 'node:child_process';

const LIMIT_MS = 3_000;

export type ServiceState = 'ready' | 'reloading' | 'stopping';

/** Whether a service manager started this process and waits to hear from it. */
export const underServiceManager = (): boolean => (process.env['NOTIFY_SOCKET'] ?? '') !== '';

/**
 * @param status - one line for `systemctl status`
 * @param within - when it may take longer than the unit allows: how long, in ms from now on
 * @returns whether the message was handed over; false also when there is nobody to tell
 */
export async function notifyServiceManager(
  state: ServiceState,
  { status, within }: { readonly status?: string; readonly within?: number } = {},
): Promise<boolean> {
  if (!underServiceManager()) return false;
  const word = { ready: 'READY=1', reloading: 'RELOADING=1', stopping: 'STOPPING=1' }[state];
  const words = [word, `MAINPID=${process.pid}`];
  if (status !== undefined) words.push(`STATUS=${status.replaceAll('\n', ' ')}`);
  if (within !== undefined) words.push(`EXTEND_TIMEOUT_USEC=${Math.ceil(within) * 1_000}`);
  return await new Promise((resolve) => {
    const child = execFile('systemd-notify', words, { timeout: LIMIT_MS, killSignal: 'SIGKILL' }, (error) =>
      resolve(error === null),
    );
    child.unref();
  });
}
