// Makes handlebars.json: what Handlebars itself makes of templates of our subset. Needed to change the vectors only:
//
//   npm install --no-save handlebars@4.7.8 && node make_vectors.mjs > handlebars.json
//
// Compiled with noEscape (prompts are no HTML). Lists and objects are never put into the text: there we differ on purpose.

import Handlebars from "handlebars";

const VALUES = {
  name: "Ada", empty: "", zero: 0, three: 3, half: 0.5, yes: true, no: false, none: null, braces: "{{name}} <b>&amp;",
  agent: { name: "coder", labels: { team: "one" } },
  items: [
    { path: "a.txt", size: 3, tags: ["x", "y"] },
    { path: "b.txt", size: 0, tags: [] },
    { path: "", size: 12, tags: ["z"], name: "own" },
  ],
  words: ["one", "two", "", "four"], nothing: [], hollow: {}, numbers: [0, 1, 2.5],
};

const FIXED = [
  "", "plain", "{{name}}", "{{{name}}}", "{{&name}}", "{{ name }}", "{{agent.name}}-{{agent.labels.team}}", "{{agent/name}}",
  "{{missing}}|{{agent.missing.deeper}}|{{none}}", "{{zero}} {{three}} {{half}} {{yes}} {{no}}", "{{braces}}{{{braces}}}",
  "\\{{name}} {{name}}", "\\\\{{name}}", "a\\b {{name}}", "\\{{{name}}} x", "x \\{{#if name}} y {{name}}", "\\{{a}} \\{{b}} {{name}}",
  "{ {name} }", "}} {{name}}", "{{! a comment }}x", "{{!-- with }} in it --}}x", "a\n{{! alone }}\nb", "a\n  {{!-- alone --}}  \nb",
  "{{#if name}}yes{{/if}}", "{{#if empty}}a{{else}}b{{/if}}", "{{#if zero}}a{{else}}b{{/if}}", "{{#if nothing}}a{{else}}b{{/if}}",
  "{{#if hollow}}a{{else}}b{{/if}}", "{{#if missing}}a{{else if three}}b{{else}}c{{/if}}", "{{#if no}}a{{else if none}}b{{else if yes}}c{{/if}}",
  "{{#if no}}a{{^}}b{{/if}}", "{{#each words}}{{@index}}:{{this}}{{#if @last}}.{{else}}, {{/if}}{{/each}}",
  "{{#each items}}{{#if @first}}first {{/if}}{{path}}({{size}}) {{this.size}} {{../name}}\n{{/each}}",
  "{{#each items}}{{#each tags}}{{@index}}{{this}}{{../path}}{{../../name}} {{else}}-{{/each}}{{/each}}",
  "{{#each items}}{{name}}|{{/each}}", "{{#each nothing}}x{{else}}none{{/each}}", "{{#each missing}}x{{else}}none{{/each}}",
  "{{#each agent.labels}}{{@key}}={{this}}{{/each}}", "{{items.1.path}} {{items.length}} {{numbers.[2]}}", "{{#each numbers}}{{.}} {{/each}}",
  "{{#each items}}{{@root.name}} {{@root.agent.name}}{{/each}}", "{{this.name}}",
  "one\n{{#if name}}\ntwo\n{{/if}}\nthree\n", "one\n  {{#if name}}  \n  two\n  {{/if}}  \nthree", "{{#if name}}\ntwo\n{{/if}}",
  "one {{#if name}}\ntwo\n{{/if}} three", "a\n{{#if no}}\nb\n{{else}}\nc\n{{/if}}\nd", "a\n{{#if no}}\nb\n{{else if yes}}\nc\n{{else}}\nd\n{{/if}}\ne",
  "{{#each words}}\n- {{this}}\n{{/each}}\nend", "{{#each words}}\n{{#if this}}\n- {{this}}\n{{/if}}\n{{/each}}\nend", "a\r\n{{#if name}}\r\nb\r\n{{/if}}\r\nc",
  "a\n\n{{#if name}}\n\nb\n\n{{/if}}\n\nc", "{{#if name}}{{/if}}\nx", "{{#if name}}{{#if yes}}\nx\n{{/if}}{{/if}}\ny", "  {{#if name}}\nx{{/if}}",
  "a {{~name~}} b", "a\n{{~#if name~}}\n  b  \n{{~/if~}}\n c", "a {{#if no~}} b {{~else~}} c {{~/if}} d", "a {{~! x ~}} b", "a {{~{name}~}} b",
  "a\n{{~#each words}}\n{{this}}\n{{~/each}}\nb", "a\n{{#if name~}}\nb\n{{/if}}\nc", "{{name}}\n{{name}}\n", "x\n{{#if name}}\n{{/if}}\ny", "{{#if name}}\n\n{{/if}}",
];

let state = 20261127; // a fixed seed: the same vectors every time
const random = (n) => { state = (Math.imul(state, 1103515245) + 12345) >>> 0; return (state >>> 8) % n; };
const pick = (list) => list[random(list.length)];
const space = () => pick(["", "", " ", "\n", "\n", "\n\n", "  \n", "\n  ", "\r\n", "x", " x\n", "\\"]);
const tilde = () => pick(["", "", "", "", "~"]);


// Two numbers side by side are added by Handlebars without escaping, so only texts are put here.
const path = (depth) =>
  pick(depth ? ["this.path", "path", "../name", "@root.name", "this.name"] : ["name", "empty", "agent.name", "missing", "words.[3]"]);
const condition = (depth) => pick(depth ? [path(depth), "@first", "@last", "size"] : [path(depth), "zero", "yes", "none"]);

function part(depth, level) {
  const kind = random(level > 2 ? 3 : 6);
  if (kind === 0) return `{{${tilde()}${path(depth)}${tilde()}}}`;
  if (kind === 1) return pick(["text", "{{! note }}", "{{!-- note --}}", "\\{{name}}", "{{{name}}}"]);
  if (kind === 2) return space();
  const body = () => space() + parts(depth, level + 1) + space();
  const open = (what) => `{{${tilde()}${what}${tilde()}}}`;
  if (kind === 5) {
    const list = depth ? "tags" : pick(["items", "words", "nothing"]);
    const inside = space() + parts(depth + 1, level + 1) + space();
    return open(`#each ${list}`) + inside + (random(2) ? open("else") + body() : "") + open("/each");
  }
  // No `else if`: what Handlebars does with the white space at the end of such a chain depends on its first part.
  return open(`#if ${condition(depth)}`) + body() + (random(2) ? open("else") + body() : "") + open("/if");
}

function parts(depth, level) {
  let text = "";
  for (let n = 1 + random(4); n > 0; n--) text += part(depth, level) + space();
  return text;
}

const made = FIXED.map((template) => template);
for (let n = 0; n < 500; n++) made.push(parts(0, 0));

const cases = [];
for (const template of made) {
  let result;
  try {
    result = Handlebars.compile(template, { noEscape: true })(VALUES);
  } catch {
    continue; // a backslash has taken a tag out of a block
  }
  if (!result.includes("[object Object]")) cases.push({ template, result });
}
process.stdout.write(JSON.stringify({ handlebars: Handlebars.VERSION, values: VALUES, cases }, null, 1) + "\n");
