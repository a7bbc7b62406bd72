/** What a shell completes. Asked of a real bash. */
import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { ctl } from './fakes.ts';

const script = async (shell = 'bash'): Promise<string> => (await ctl({ clusters: {} }, 'completion', shell)).out;

/** @param line - with the cursor at its end */
function completed(source: string, line: string): readonly string[] {
  const words = line.split(' ');
  const run = `${source}
COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}; _pgha_ctl
printf '%s\\n' "\${COMPREPLY[@]}"`;
  const said = execFileSync('bash', ['--norc', '-c', run], { encoding: 'utf8' });
  return said.split('\n').filter((word) => word !== '');
}

describe('pgha-ctl completion', () => {
  it('completes commands, options, and the words that an option takes', async () => {
    const source = await script();
    const rows: readonly (readonly [string, readonly string[]])[] = [
      ['pgha-ctl sw', ['switchover']],
      ['pgha-ctl -c x.yml switchover --ca', ['--candidate']],
      ['pgha-ctl list -f ', ['pretty', 'tsv', 'json', 'yaml', 'yml', 'repmgr', 'repmgr-service']],
      ['pgha-ctl restart demo -r standby', ['standby-leader', 'standby']],
      ['pgha-ctl flush demo sw', ['switchover']],
      ['pgha-ctl completion z', ['zsh']],
      ['pgha-ctl list --nothing', []],
    ];
    for (const [line, words] of rows) expect([line, completed(source, line)]).toEqual([line, words]);
    expect(completed(source, 'pgha-ctl ')).toContain('edit-config');
  });

  it('hides what help hides', async () => {
    expect(await script()).not.toContain('--master');
  });

  it('speaks fish', async () => {
    const fish = await script('fish');
    expect(fish).toContain("complete -c pgha-ctl -n __fish_use_subcommand -a switchover -d 'hand leadership over");
    expect(fish).toContain("complete -c pgha-ctl -n '__fish_seen_subcommand_from switchover' -l candidate -x -d ");
    expect(fish).toContain("-s f -l format -x -a 'pretty tsv json yaml yml'");
    // Every line is one command whose quotes are closed.
    for (const line of fish.split('\n')) expect(line.replace(/\\'/g, '').split("'").length % 2).toBe(1);
  });

  it('has a zsh of its own, and knows no other shell', async () => {
    expect(await script('zsh')).toContain('bashcompinit');
    expect((await ctl({ clusters: {} }, 'completion', 'csh')).code).toBe(2);
  });
});
