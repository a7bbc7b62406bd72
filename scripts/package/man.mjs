/**
 * The man pages: pgha(8) by hand, pgha-ctl(1) from what its commands say of themselves, pgha.yml(5) from the page of
 * docs/ that is made from the schema. So none of them says something else than the program.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/**
 * @param {{ version: string, dist: string, date: Date }} of - `dist`: where the built pgha-ctl.js is
 * @returns {Record<string, string>} file name -> roff
 */
export function manPages(of) {
  return { 'pgha.8': daemon(of), 'pgha-ctl.1': command(of), 'pgha.yml.5': file(of) };
}

/** Text as it is: backslashes and leading dots mean something to roff. */
const plain = (text) =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll(/^([.'])/gm, '\\&$1');
/** Markdown's emphasis and links as roff has them. */
const inline = (text) =>
  plain(text.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1'))
    .replaceAll(/\*\*([^*]+)\*\*/g, '\\fB$1\\fR')
    .replaceAll(/`([^`]+)`/g, '\\fB$1\\fR');

const head = (name, section, { version, date }) =>
  `.TH ${name.toUpperCase()} ${section} "${date.toISOString().slice(0, 10)}" "pgha ${version}" "pgha"\n`;

function daemon(of) {
  return `${head('pgha', 8, of)}.SH NAME
pgha \\- high availability for PostgreSQL
.SH SYNOPSIS
\\fBpgha\\fR \\fIFILE\\fR
.br
\\fBpgha \\-\\-validate\\-config\\fR \\fIFILE\\fR
.br
\\fBpgha \\-\\-version\\fR
.SH DESCRIPTION
One service per database node. The nodes agree by a key in etcd on who leads; when the primary is lost, the best standby
takes over; old primaries come back by themselves. It runs as the user who owns the data directory, never as root, and
starts and stops PostgreSQL itself: the distribution's unit for that data directory must not.
.SH OPTIONS
.TP
\\fIFILE\\fR
Run with this configuration, see \\fBpgha.yml\\fR(5).
.TP
\\fB\\-\\-validate\\-config\\fR \\fIFILE\\fR
Say what was understood and what the times come to, or all mistakes with their lines. Changes nothing.
.SH SIGNALS
.TP
.B SIGTERM, SIGINT
Stop: a leader stops PostgreSQL in order and hands over. In maintenance PostgreSQL runs on.
.TP
.B SIGHUP
Read the configuration again.
.TP
.B SIGUSR2
Make room for the next daemon (a new version): PostgreSQL and the leader key stay as they are.
.SH EXIT STATUS
.TP
.B 0
Stopped as asked; the configuration is usable.
.TP
.B 1
Something went wrong; the log says what. The service manager starts it again.
.TP
.B 2
Called wrongly.
.TP
.B 78
The configuration was refused. Trying again would not help.
.SH FILES
.TP
.I /etc/pgha/pgha.yml
The configuration of \\fBpgha.service\\fR; \\fIpgha@NAME.service\\fR has \\fI/etc/pgha/NAME.yml\\fR.
.TP
.I /run/pgha
State, the guard's file and sockets.
.TP
.I /usr/share/doc/pgha
All documentation, and examples.
.SH SEE ALSO
\\fBpgha\\-ctl\\fR(1), \\fBpgha.yml\\fR(5)
`;
}

function command(of) {
  const help = (...args) =>
    execFileSync(process.execPath, [join(of.dist, 'pgha-ctl.js'), ...args, '--help'], {
      encoding: 'utf8',
      env: { ...process.env, COLUMNS: '78' },
    }).trim();
  const all = help();
  const names = [...all.slice(all.indexOf('\nCommands:')).matchAll(/^ {2}([a-z][a-z-]*)/gm)].map(([, name]) => name);
  const commands = names.filter((name) => name !== 'help');
  const sections = commands.map((name) => `.SS ${plain(name)}\n.nf\n${plain(help(name))}\n.fi\n`);
  return `${head('pgha-ctl', 1, of)}.SH NAME
pgha\\-ctl \\- looks at a cluster of pgha(8), and acts on it
.SH SYNOPSIS
.nf
${plain(all)}
.fi
.SH COMMANDS
${sections.join('')}.SH EXIT STATUS
0: done. 1: refused or failed, with the reason. 2: called wrongly.
.SH SEE ALSO
\\fBpgha\\fR(8), \\fBpgha.yml\\fR(5), \\fI/usr/share/doc/pgha/operations.md\\fR
`;
}

function file(of) {
  const page = readFileSync(join(root, 'docs', 'configuration.md'), 'utf8').replaceAll(/<!--.*?-->\n/gs, '');
  return `${head('pgha.yml', 5, of)}.SH NAME
pgha.yml \\- the configuration of pgha(8)
.SH DESCRIPTION
${page
  .split(/^```\w*\n/m)
  .map((part, i) => (i % 2 === 1 ? `.nf\n${plain(part)}.fi\n` : part.split('\n').map(line).join('')))
  .join('')}.SH SEE ALSO
\\fBpgha\\fR(8), \\fBpgha\\-ctl\\fR(1)
`;
}

/** One line of the page. A row of a table becomes its first cell, and the others below it. */
function line(text) {
  if (/^# /.test(text) || /^\|[-| :]+\|$/.test(text)) return '';
  const heading = /^##+ (.*)$/.exec(text);
  if (heading !== null) return `.SH ${inline(heading[1]).toUpperCase()}\n`;
  if (text.startsWith('    ')) return `.br\n${plain(text)}\n.br\n`;
  if (text.startsWith('| ')) {
    const [name, ...rest] = text
      .slice(1, -1)
      .split(/(?<!\\)\|/)
      .map((cell) => cell.replaceAll('\\|', '|').trim());
    const said = rest.filter((cell) => cell !== '');
    return name === 'name' ? '' : `.TP\n${inline(name)}\n${inline(said.join('; '))}\n`;
  }
  return text === '' ? '.PP\n' : `${inline(text)}\n`;
}
