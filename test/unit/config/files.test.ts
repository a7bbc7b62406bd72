/** Named files, read beside the event loop: as text, bounded in length and time, whatever stands under the name. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readTextFile, withFiles } from '../../../src/config/files.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { MOST_BYTES } from '../../../src/config/text.ts';

let directory = '';
const at = (name: string): string => join(directory, name);
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'pgha-files-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('a text file', () => {
  it('is read without the mark of its byte order', async () => {
    writeFileSync(at('marked'), '\ufeffscope: a\n');
    expect(await readTextFile(at('marked'))).toBe('scope: a\n');
  });

  it.each([
    [
      'of another encoding',
      () => writeFileSync(at('x'), Buffer.from('a: 1\nb: caf\xe9\n', 'latin1')),
      'line 2, column 7',
    ],
    ['with a byte 0', () => writeFileSync(at('x'), 'a: 1\n\0'), 'line 2, column 1: a byte 0'],
    ['that is too long', () => writeFileSync(at('x'), 'a'.repeat(MOST_BYTES + 1)), `longer than ${MOST_BYTES} bytes`],
    ['that is a directory', () => mkdirSync(at('x')), 'EISDIR'],
    ['that is a link to itself', () => symlinkSync(at('x'), at('x')), 'ELOOP'],
    ['that never ends', () => symlinkSync('/dev/zero', at('x')), 'longer than'],
  ])('%s is refused', async (_what, make, why) => {
    rmSync(at('x'), { recursive: true, force: true });
    make();
    await expect(readTextFile(at('x'))).rejects.toThrow(why);
  });

  it('that is a pipe is read when somebody writes, and is empty when nobody does', async () => {
    execFileSync('mkfifo', [at('pipe')]);
    expect(await readTextFile(at('pipe'))).toBe('');
    // As a shell's `<(...)`: there is a writer before there is anything to read.
    const writer = await open(at('pipe'), 'r+');
    const reading = readTextFile(at('pipe'));
    await new Promise((resolve) => setTimeout(resolve, 30));
    await writer.write('scope: a\n');
    await writer.close();
    expect(await reading).toBe('scope: a\n');
  });
});

describe('work that asks for files', () => {
  const config = `scope: a
name: b
etcd3: {hosts: ['10.0.0.1:2379', '10.0.0.2:2379', '10.0.0.3:2379']}
restapi: {connect_address: '10.0.0.1:8008'}
postgresql:
  data_dir: /srv/pg/data
  listen: '*:5432'
  connect_address: 10.0.0.1:5432
  authentication:
    superuser: {username: postgres, password_file: PASSWORD}
`;

  it('finds them read, each once, in the order in which one leads to the next', async () => {
    mkdirSync(at('conf.d'));
    writeFileSync(at('password'), 'from a file\n');
    writeFileSync(at('conf.d/10-node.yml'), config.replace('PASSWORD', at('password')));
    writeFileSync(at('conf.d/20-more.yml'), 'ttl: 20\n');
    const asked: string[] = [];
    const { config: loaded } = await withFiles(({ readFile, ...files }) =>
      loadConfig({
        path: at('conf.d'),
        env: {},
        ...files,
        readFile: (path) => {
          const text = readFile(path);
          asked.push(path);
          return text;
        },
      }),
    );
    expect(loaded.postgresql.authentication.superuser.password).toBe('from a file');
    expect(loaded.localOverrides).toMatchObject({ ttl: 20 });
    expect(new Set(asked)).toEqual(new Set([at('conf.d/10-node.yml'), at('conf.d/20-more.yml'), at('password')]));
  });

  it('gets to know what is wrong with one as if it had read it itself', async () => {
    const load = (path: string) => withFiles((files) => loadConfig({ path, env: {}, ...files }));
    await expect(load(at('nowhere'))).rejects.toMatchObject({ code: 'PGHA_CONFIG_UNREADABLE' });
    writeFileSync(at('broken.yml'), Buffer.from('scope: a\nname: \xff\n', 'latin1'));
    await expect(load(at('broken.yml'))).rejects.toThrow('line 2, column 7: not text in UTF-8');
    writeFileSync(at('secret.yml'), config.replace('PASSWORD', at('broken.yml')));
    await expect(load(at('secret.yml'))).rejects.toThrow(/password_file: .* could not be read: line 2, column 7/);
  });
});
