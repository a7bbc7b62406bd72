/** How the status page looks: one column on a phone, two on a desk, dark where the reader's system is. */
export const STYLE = `
:root { color-scheme: light dark; --ground: #f4f5f7; --card: #fff; --ink: #1b1f24; --faint: #59636e; --line: #d0d6dd;
  --good: #136c2e; --warn: #8a5300; --bad: #b3161b; --mark: #0a58b0; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #101418; --card: #1a2027; --ink: #e4e9ee; --faint: #9aa5b1; --line: #36404b;
    --good: #5fd07f; --warn: #f0b24a; --bad: #ff7b78; --mark: #79b4ff; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 75rem; padding: 0.75rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.4 system-ui, sans-serif; overflow-wrap: anywhere; }
header { display: flex; flex-wrap: wrap; gap: 0 1rem; align-items: baseline; }
h1 { font-size: 1.4rem; margin: 0; }
h2 { font-size: 1rem; margin: 0 0 0.5rem; color: var(--faint); font-weight: 600; }
p { margin: 0.25rem 0; }
a { color: var(--mark); }
#asked { color: var(--faint); }
.notice { border-left: 0.3rem solid var(--warn); background: var(--card); padding: 0.5rem 0.75rem; margin: 0.5rem 0; }
.notice.bad { border-color: var(--bad); }
main { display: grid; grid-template-columns: minmax(0, 1fr); gap: 0.75rem; margin-top: 0.75rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 0.5rem; padding: 0.75rem; min-width: 0; }
.old main { opacity: 0.55; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) minmax(0, 1fr); gap: 0.3rem 0.75rem; margin: 0; }
dt { color: var(--faint); }
dd { margin: 0; }
ol, ul { list-style: none; margin: 0; padding: 0; }
ol li { padding: 0.35rem 0; border-top: 1px solid var(--line); }
ol li:first-child { border-top: 0; }
#events, #history { max-height: 26rem; overflow-y: auto; }
time, .faint { color: var(--faint); font-variant-numeric: tabular-nums; }
.tree ul { margin-left: 0.6rem; padding-left: 0.9rem; border-left: 2px solid var(--line); }
.tree li { position: relative; }
.tree ul > li::before { content: ''; position: absolute; left: -0.9rem; top: 1.4rem; width: 0.8rem;
  border-top: 2px solid var(--line); }
.member { border: 1px solid var(--line); border-radius: 0.5rem; padding: 0.5rem 0.75rem; margin: 0.4rem 0; }
.member.leader { border-color: var(--good); border-width: 2px; }
.member.trouble { border-color: var(--bad); }
.name { font-weight: 700; margin-right: 0.5rem; }
.badge { display: inline-block; border: 1px solid currentColor; border-radius: 1rem; padding: 0 0.5rem; font-size: 0.85rem;
  margin-right: 0.35rem; }
.facts { display: flex; flex-wrap: wrap; gap: 0 1rem; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
meter { width: 8rem; max-width: 100%; vertical-align: middle; margin-right: 0.5rem; }
form, #actions { display: flex; flex-wrap: wrap; gap: 0.5rem; align-items: end; }
[hidden] { display: none; }
input, select, button { font: inherit; padding: 0.3rem 0.5rem; max-width: 100%; }
button { cursor: pointer; }
@media (min-width: 56rem) {
  main { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .wide { grid-column: 1 / -1; }
  .tree ul { margin-left: 1.5rem; }
}
`;
