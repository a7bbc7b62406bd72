/**
 * The status page as one text: markup, style and script, with a policy that lets a browser run exactly these two and ask
 * nobody but this host. Nothing of the cluster stands in it: all that is shown comes as JSON and is put in as text.
 */
import { createHash } from 'node:crypto';
import { SCRIPT } from './script.ts';
import { STYLE } from './style.ts';

const digest = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

export const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  `script-src ${digest(SCRIPT)}`,
  `style-src ${digest(STYLE)}`,
  "connect-src 'self'",
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

export const PAGE = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>pgha</title>
<link rel="icon" href="data:,">
<style>${STYLE}</style>
</head>
<body>
<header>
<h1 id="title">pgha</h1>
<p id="asked" role="status">Waiting for the first answer …</p>
</header>
<noscript><p class="notice bad">This page needs JavaScript. The same without: /cluster, /status, /pgha/events.</p></noscript>
<div id="notices" aria-live="polite"></div>
<main>
<section class="wide"><h2>Cluster</h2><div id="topology"></div></section>
<section><h2>This node</h2><dl id="node"></dl></section>
<section><h2>Settings and plans</h2><dl id="plans"></dl></section>
<section><h2>Timelines</h2><ol id="history"></ol></section>
<section><h2>Events</h2><ol id="events"></ol></section>
<section class="wide" id="acting" hidden><h2>Act</h2>
<form id="login"><label>User <input id="user" autocomplete="username" required></label>
<label>Password <input id="password" type="password" autocomplete="current-password" required></label>
<button>Log in</button></form>
<div id="actions" hidden></div>
<p id="said" role="status"></p>
</section>
</main>
<script type="module">${SCRIPT}</script>
</body>
</html>
`;
