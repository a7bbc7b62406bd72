/**
 * What a request asks for: path and query, read the way Patroni reads them (an absolute target is accepted, a leading
 * double slash collapses, blank parameters count as absent, the first of a repeated parameter counts). It decodes
 * nothing in the path: health paths are matched as they were sent.
 */

export interface Target {
  readonly path: string;
  readonly query: ReadonlyMap<string, string>;
}

const NO_QUERY: ReadonlyMap<string, string> = new Map();

export function readTarget(url: string): Target {
  const mark = url.indexOf('?');
  const rawPath = mark === -1 ? url : url.slice(0, mark);
  // HAProxy and proxies may send `http://host/primary`.
  const relative = rawPath.startsWith('/') ? rawPath : rawPath.replace(/^[a-z]+:\/\/[^/]*/i, '');
  const path = relative === '' ? '/' : relative.replace(/^\/{2,}/, '/');
  if (mark === -1) return { path, query: NO_QUERY };
  const query = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(url.slice(mark + 1))) {
    if (value !== '' && !query.has(name)) query.set(name, value);
  }
  return { path, query };
}
