/** The status page in a real browser, in front of a real cluster: what people see of it on a desk and on a phone. */
import { copyFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { browser as browserProgram } from '../../scripts/ensure.mjs';
import { Browser, type Page } from './lib/browser.ts';
import { repository } from './lib/client.ts';
import { Cluster } from './lib/cluster.ts';
import { ctlDone, describeOnHosts, everything } from './lib/scenario.ts';
import { until } from './lib/time.ts';

const LOGIN = { username: 'admin', password: 'päss:word' };
/** A member and its state as somebody would write them who wants his markup in the page. */
const EVIL = '<img src=x onerror=document.title=`evil`>';

/** The name that the page shows as the leader's. */
const LEADER = "document.querySelector('.member.leader .name')?.textContent";
const TEXT = 'document.body.innerText';

describe.skipIf(!everything || browserProgram() === null)('in Chromium', () => {
  describeOnHosts('the status page', () => {
    let cluster: Cluster;
    let browser: Browser;

    beforeAll(async () => {
      cluster = await Cluster.start({ witness: true, node: () => ({ restapi: { authentication: LOGIN } }) });
      browser = Browser.start(cluster.network.host('client'), cluster.directory);
    });
    afterAll(async () => {
      await browser?.close();
      await cluster?.destroy();
    });

    const open = async (name: string, width: number, scheme: 'light' | 'dark' = 'light'): Promise<Page> => {
      const page = await browser.page(width, 900, scheme);
      const { url } = name === 'w1' && cluster.witness !== null ? cluster.witness : cluster.node(name);
      await page.go(`${url}/ui`);
      await page.until('data are shown', "document.querySelectorAll('.member').length > 0");
      return page;
    };
    const wellBehaved = (page: Page, name: string): void => {
      const origin = name === 'w1' ? cluster.witness?.url : cluster.node(name).url;
      expect(page.errors).toEqual([]);
      expect(page.requests.filter((url) => !url.startsWith(`${origin}/ui`))).toEqual([]);
    };
    const shot = async (page: Page, file: string): Promise<void> => {
      const path = join(cluster.directory, file);
      await page.screenshot(path);
      expect(statSync(path).size).toBeLessThan(300 * 1024);
      if (process.env['PGHA_SCREENSHOTS'] === '1') copyFileSync(path, join(repository, 'docs', file));
    };

    it('shows the leader, its window and the lags, and after a switchover the new leader without being loaded anew', async () => {
      const old = await cluster.primary();
      const [next, third] = cluster.others(old).map(({ name }) => name);
      if (next === undefined || third === undefined) throw new Error('three nodes are needed');
      const page = await open(next, 1200);
      await page.value('globalThis.loadedOnce = true');
      await page.until('the leader is shown', `${LEADER} === '${old}'`);
      await page.until('the others receive from it', "document.querySelectorAll('.tree ul .member').length === 2");
      await page.until('their lags are shown', `/lag 0 B received, 0 B replayed/.test(${TEXT})`);
      expect(await page.value(`/Last decision[^]*:/.test(${TEXT})`)).toBe(true);
      await ctlDone(cluster, ['switchover', '--leader', old, '--candidate', next, '--force']);
      await page.until('the new leader is shown', `${LEADER} === '${next}'`);
      await page.until('its window is shown', `/Window left\\s+\\d/.test(${TEXT}) && /accepted here/.test(${TEXT})`);
      await page.until('the others receive from it', "document.querySelectorAll('.tree ul .member').length === 2");
      await page.until('the timeline is shown', `/Timeline 2 by ${next}/.test(${TEXT})`);
      await page.until('the event is shown', `/standby_switchover/.test(${TEXT})`);
      expect(await page.value('globalThis.loadedOnce')).toBe(true);
      expect(await page.value(`document.querySelector('a.name[href="${cluster.node(third).url}/ui"]') !== null`)).toBe(
        true,
      );
      await shot(page, 'status-page.png');
      wellBehaved(page, next);
    });

    it('can be read on a phone and in the dark: nothing is wider than 375 pixels, also with names that never end', async () => {
      const leader = await cluster.primary();
      const page = await open(leader, 375, 'dark');
      await page.until('the window is shown', `/Window left\\s+\\d/.test(${TEXT})`);
      await shot(page, 'status-page-phone.png');
      const key = `/service/${cluster.scope}/members/${EVIL}${'x'.repeat(200)}`;
      const member = {
        state: EVIL,
        role: 'replica',
        conn_url: 'postgres://x',
        api_url: `javascript:${EVIL}`,
        tags: { [EVIL]: EVIL },
      };
      await cluster.etcd.etcdctl('put', key, JSON.stringify(member));
      try {
        await page.until('the stranger is shown, as text', `${TEXT}.includes(${JSON.stringify(EVIL)})`);
        expect(await page.value("document.querySelectorAll('img, #topology [href^=javascript]').length")).toBe(0);
        expect(await page.value('document.title')).toContain(cluster.scope);
        expect(await page.value('document.documentElement.scrollWidth')).toBeLessThanOrEqual(375);
        const ground = await page.value<string>('getComputedStyle(document.body).backgroundColor');
        expect(ground.match(/\d+/g)?.every((part) => Number(part) < 60)).toBe(true);
      } finally {
        await cluster.etcd.etcdctl('del', key);
      }
      wellBehaved(page, leader);
    });

    it('is the same page on a witness', async () => {
      const leader = await cluster.primary();
      const page = await open('w1', 800);
      await page.until('it says what it is', `${LEADER} === '${leader}' && /w1, a witness/.test(${TEXT})`);
      wellBehaved(page, 'w1');
    });

    it('changes something for who has logged in, and for nobody else', async () => {
      const old = await cluster.primary();
      const [next] = cluster.others(old).map(({ name }) => name);
      const page = await open(old, 1200);
      const login = (password: string): Promise<unknown> =>
        page.value(`document.getElementById('user').value = ${JSON.stringify(LOGIN.username)},
          document.getElementById('password').value = ${JSON.stringify(password)},
          document.querySelector('#login button').click()`);
      const button = (label: string): string =>
        `[...document.querySelectorAll('#actions button')].find((one) => one.textContent === '${label}')`;
      expect(await page.value("document.getElementById('actions').hidden")).toBe(true);
      await login('wrong');
      await page.until('it is refused', "document.getElementById('said').textContent === 'not authenticated'");
      expect(await page.value("document.getElementById('actions').hidden")).toBe(true);
      await login(LOGIN.password);
      await page.until('there are buttons', "!document.getElementById('actions').hidden");

      await page.value(`${button('Begin maintenance')}.click()`);
      await page.until('maintenance is shown', `/Maintenance: nothing is started/.test(${TEXT})`);
      await page.until('it can be ended', `${button('End maintenance')} !== undefined`);
      await page.value(`${button('End maintenance')}.click()`);
      await page.until('it is over', `!/Maintenance: nothing is started/.test(${TEXT})`);

      await page.until(
        'all can be asked',
        `document.querySelector('#actions option[value="${next}"], #actions select') !== null`,
      );
      await page.value(`document.querySelector('#actions select').value = '${next}', ${button('Switch over')}.click()`);
      await page.until('the new leader is shown', `${LEADER} === '${next}'`, 60_000);
      await page.until('it says so', `/Successfully switched over/.test(document.getElementById('said').textContent)`);
      expect(await cluster.waitForPrimary()).toBe(next);
      // The browser tells of the answer to the wrong password by itself.
      expect(page.errors.filter((error) => !/401.*\/ui\/login/.test(error))).toEqual([]);
      await cluster.waitAllStreaming();
    });

    it('says how old it is: without etcd, in a daemon that never read it, and without a daemon', async () => {
      const leader = await cluster.primary();
      const [standby] = cluster.others(leader).map(({ name }) => name);
      if (standby === undefined) throw new Error('three nodes are needed');
      const page = await open(standby, 1200);
      for (const { name } of cluster.etcd.members) cluster.etcd.freezeMember(name);
      try {
        await page.until('the age is told', `/as it was \\d+ s ago|as it was [3-9]\\.\\d s ago/.test(${TEXT})`);
        expect(await page.value("document.querySelectorAll('.member').length")).toBe(4);
        cluster.node(standby).daemon.kill();
        await page.until('nobody is there', `/No answer from this node[^]*is from/.test(${TEXT})`);
        await page.until(
          'another one is there, and knows nothing',
          `/etcd was not read since the start/.test(${TEXT})`,
        );
      } finally {
        for (const { name } of cluster.etcd.members) cluster.etcd.thawMember(name);
      }
      await page.until('all is well again', `!/etcd/.test(document.getElementById('notices').innerText)`, 60_000);
      await until('a leader is there', 60_000, async () => (await cluster.primaries()).length === 1);
    });
  });
});
