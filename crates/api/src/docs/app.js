// Lists every call of openapi.json by tag, with what it takes and answers, and tries it.
// Kept true: everything from the document or an answer is put in as text, never as markup; a QR code is drawn from shapes
// alone; what an answer named fills in the next call, and nothing is kept beyond the page.
"use strict";

let openapi;
const methods = ["get", "post", "put", "patch", "delete", "head", "options"];
const byId = (id) => document.getElementById(id);
const base = "/api/v1";

/** A fan's way through a sale, as the page begins with it. */
const way = [
  ["create_account", "Make an account"], ["create_session", "Log in"], ["list_events", "Find a performance"], ["join_waiting_room", "Join the waiting room"],
  ["my_place", "See how far you are"], ["take_pass", "Enter with a pass"], ["create_hold", "Hold seats"], ["create_booking", "Book them"], ["ticket_qr", "Show the ticket"],
];

/** What a body begins with where the document leaves a choice. */
const beginnings = {
  create_hold: { best: { quantity: 2, together: true } },
  create_booking: { payment: { method: "sandbox", outcome: "ok" } },
  create_venue: { name: "Hall", generate: { sections: 2, rows: 10, seats_per_row: 20 } },
};

/** Ids and the address that answers and inputs have named; the latest wins. */
const known = {};

/** An element with properties and children; a child that is a string is text. */
function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** Text in which `code` between backticks is set as code. */
function prose(text) {
  return (text ?? "").split("`").map((part, at) => (at % 2 ? make("code", {}, part) : part)).filter((part) => part !== "");
}

/** What a `$ref` points to. */
function resolve(part) {
  let seen = 0;
  while (part && part.$ref && seen++ < 20) {
    part = part.$ref.replace(/^#\//, "").split("/").reduce((at, name) => at?.[name.replace(/~1/g, "/").replace(/~0/g, "~")], openapi);
  }
  return part ?? {};
}

/** A schema with the parts of its `allOf` in one. */
function whole(schema) {
  const found = resolve(schema);
  if (!found.allOf) return found;
  return found.allOf.map(whole).reduce((sum, part) => ({
    ...sum, ...part,
    properties: { ...sum.properties, ...part.properties },
    required: [...(sum.required ?? []), ...(part.required ?? [])],
  }), { ...found, allOf: undefined });
}

const choices = (schema) => schema.oneOf ?? schema.anyOf;
const isNull = (schema) => resolve(schema).type === "null";

function typeName(schema) {
  const found = whole(schema);
  if (found.const !== undefined) return JSON.stringify(found.const);
  if (found.enum) return found.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (choices(found)) return choices(found).map(typeName).join(" | ");
  if (found.type === "array") return `list of ${typeName(found.items ?? {})}`;
  return [found.type].flat().filter(Boolean).join(" | ") + (found.format ? ` (${found.format})` : "");
}

function limits(schema) {
  const names = { minimum: "from", maximum: "to", minLength: "at least", maxLength: "at most", minItems: "at least", maxItems: "at most", pattern: "like", default: "default" };
  const units = { minLength: " characters", maxLength: " characters", minItems: " items", maxItems: " items" };
  const words = schema.pattern?.match(/^\w+(\|\w+)+$/)?.[0].split("|");
  if (words) return `one of ${words.join(", ")}`;
  return Object.keys(names).filter((key) => schema[key] !== undefined)
    .map((key) => `${names[key]} ${typeof schema[key] === "object" ? JSON.stringify(schema[key]) : schema[key]}${units[key] ?? ""}`).join(", ");
}

/** The fields of a schema as a nested list; nothing when it has none. */
function fields(schema, depth = 0) {
  const found = whole(schema);
  if (depth > 6) return null;
  if (found.type === "array") return fields(found.items ?? {}, depth + 1);
  const others = (choices(found) ?? []).filter((one) => !isNull(one));
  if (others.length > 0) {
    const parts = others.map((one) => fields(one, depth + 1)).filter(Boolean);
    return parts.length ? make("div", {}, ...parts.flatMap((part, at) => (at ? [make("p", { className: "quiet" }, "or"), part] : [part]))) : null;
  }
  const names = Object.keys(found.properties ?? {});
  const more = found.additionalProperties && typeof found.additionalProperties === "object" ? found.additionalProperties : null;
  if (!names.length && !more) return null;
  const row = (name, one) => {
    const inner = whole(one);
    return make("li", {}, make("code", {}, name), " ", make("small", {}, typeName(one)),
      (found.required ?? []).includes(name) ? make("span", { className: "needed" }, " required") : null,
      ...prose(inner.description ?? resolve(one).description ? ` — ${resolve(one).description ?? inner.description}` : ""),
      limits(inner) ? make("small", {}, ` (${limits(inner)})`) : null, fields(one, depth + 1));
  };
  return make("ul", { className: "fields" }, ...names.map((name) => row(name, found.properties[name])), ...(more ? [row("<any name>", more)] : []));
}

/** A UUIDv7, as clients make them. */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const now = Date.now();
  for (let at = 0; at < 6; at++) bytes[at] = Math.floor(now / 2 ** (8 * (5 - at))) & 255;
  bytes[6] = (bytes[6] & 15) | 112;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

const madeByClient = (schema) => schema.format === "uuid" || /client.*UUID/.test(schema.description ?? "");

/** Something that fits the schema; a field that is known is that. Fields that need not be there are left out below the top; at the top, those that may be null. */
function example(schema, depth = 0) {
  const found = whole(schema);
  if (found.type === "string" && madeByClient(found)) return newId();
  for (const given of [found.example, found.examples?.[0], found.const, found.default, found.enum?.[0]]) {
    if (given !== undefined) return given;
  }
  const one = (choices(found) ?? []).find((other) => !isNull(other));
  if (one) return example(one, depth + 1);
  const type = [found.type].flat().find((name) => name !== "null");
  if (type === "array") return depth > 6 ? [] : [example(found.items ?? {}, depth + 1)];
  if (type === "object" || found.properties) {
    const mayBeNull = (one) => [one.type].flat().includes("null") || (choices(one) ?? []).some(isNull);
    const names = Object.keys(found.properties ?? {})
      .filter((name) => (found.required ?? []).includes(name) || (depth === 0 && !mayBeNull(whole(found.properties[name]))));
    return depth > 6 ? {} : Object.fromEntries(names.map((name) => {
      const own = /client/.test(whole(found.properties[name]).description ?? "");
      return [name, (own ? undefined : known[name]) ?? example(found.properties[name], depth + 1)];
    }));
  }
  if (type === "integer" || type === "number") return found.minimum ?? 1;
  if (type === "boolean") return true;
  if (found.format === "date-time") return new Date().toISOString();
  return type === "string" ? "" : null;
}

const contents = (part) => Object.entries(resolve(part).content ?? {});

function answers(operation) {
  return make("dl", {}, ...Object.entries(operation.responses ?? {}).flatMap(([status, response]) => {
    const found = resolve(response);
    const bodies = contents(found).map(([kind, body]) => make("div", {}, make("small", {}, kind), body.schema ? fields(body.schema) : null));
    return [make("dt", { className: status < "400" ? "ok" : "no" }, status), make("dd", {}, ...prose(found.description), ...bodies)];
  }));
}

/** An input for each parameter; the headers that all tries share are above. */
function inputs(parameters) {
  const rows = parameters.map((parameter) => {
    const input = make("input", { autocomplete: "off", spellcheck: false, required: parameter.in === "path" });
    const words = resolve(parameter.schema).pattern?.match(/^\w+(\|\w+)+$/)?.[0].split("|");
    const hint = parameter.description ?? (words ? words.join(", ") : "");
    if (words && parameter.required) input.value = words[0];
    const label = make("label", {}, make("code", {}, parameter.name), " ", ...prose(hint), parameter.required ? make("span", { className: "needed" }, " required") : null, input);
    return { parameter, input, label };
  });
  return rows;
}

/** Puts the token, the pass and the ids of an answer where the next try finds them. Of a list, the first of what is not known. */
function keep(answer) {
  if (typeof answer?.access_token === "string") byId("token").value = answer.access_token;
  if (typeof answer?.pass === "string") byId("pass").value = answer.pass;
  const inList = Array.isArray(answer?.items);
  const seen = new Set();
  const walk = (part, depth) => {
    if (depth > 6 || !part || typeof part !== "object") return;
    for (const [name, value] of Object.entries(part)) {
      const names = typeof value === "string" && (name.endsWith("_id") || name === "email");
      if (names && !seen.has(name) && !(inList && known[name])) known[name] = value;
      if (names) seen.add(name);
    }
    Object.values(part).forEach((value) => walk(value, depth + 1));
  };
  walk(answer, 0);
}

/** A QR code as a picture; nothing when there is more in it than shapes. */
function picture(text) {
  const svg = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
  const shapes = ["svg", "g", "path", "rect", "title"], plain = ["viewBox", "d", "fill", "width", "height", "x", "y", "shape-rendering", "role", "aria-label", "xmlns", "version"];
  const parts = [svg, ...svg.querySelectorAll("*")];
  return parts.every((part) => shapes.includes(part.localName) && [...part.attributes].every((one) => plain.includes(one.name))) ? document.importNode(svg, true) : null;
}

/** Lines of a stream, and characters of an answer, that are shown. */
const LINES_MAX = 400;
const CHARACTERS_MAX = 40_000;

/** Shows an event stream until it ends or is stopped. */
async function follow(response, output) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text = (text + value).split("\n").slice(-LINES_MAX).join("\n");
    output.textContent = text;
    output.scrollTop = output.scrollHeight;
  }
}

async function show(response, started, status, output, more) {
  status.className = response.ok ? "ok" : "no";
  status.textContent = `${response.status} ${response.statusText} · ${Math.round(performance.now() - started)} ms`;
  const kind = response.headers.get("content-type") ?? "";
  const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
  more.replaceChildren(make("details", {}, make("summary", {}, "Headers of the answer"), make("pre", { tabIndex: 0 }, headers)));
  output.textContent = "";
  if (kind.startsWith("text/event-stream")) {
    output.hidden = false;
    return follow(response, output);
  }
  const text = await response.text();
  const drawn = kind.startsWith("image/svg") ? picture(text) : null;
  if (drawn) more.prepend(make("figure", {}, drawn));
  let body = text;
  if (kind.includes("json") && text) {
    const answer = JSON.parse(text);
    keep(answer);
    body = JSON.stringify(answer, null, 2);
  }
  output.hidden = !body || drawn !== null;
  output.textContent = body.length > CHARACTERS_MAX ? `${body.slice(0, CHARACTERS_MAX)}\n… ${body.length - CHARACTERS_MAX} characters more` : body;
}

/** The request that the form says: where, and with what. */
function request(method, path, rows, body) {
  const query = new URLSearchParams();
  const headers = {};
  for (const { parameter, input } of rows) {
    const value = input.value.trim();
    if (parameter.in === "path") {
      path = path.replace(`{${parameter.name}}`, encodeURIComponent(value));
      if (value && parameter.name.endsWith("_id")) known[parameter.name] = value;
    } else if (value && parameter.in === "query") query.set(parameter.name, value);
    else if (value && parameter.in === "header") headers[parameter.name] = value;
  }
  if (byId("token").value.trim()) headers.Authorization = `Bearer ${byId("token").value.trim()}`;
  if (byId("pass").value.trim()) headers["Boxoffice-Pass"] = byId("pass").value.trim();
  if (body) headers["Content-Type"] = "application/json";
  return { url: query.size ? `${path}?${query}` : path, init: { method: method.toUpperCase(), headers, body: body ? body.value : undefined, cache: "no-store" } };
}

/** The same for a shell; token and pass by name, so that it can be shown around. */
function asCurl({ url, init }) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const named = { Authorization: '"Authorization: Bearer $TOKEN"', "Boxoffice-Pass": '"Boxoffice-Pass: $PASS"' };
  const lines = [`curl -i${init.method === "GET" ? "" : ` -X ${init.method}`} ${quoted(location.origin + url)}`,
    ...Object.entries(init.headers).map(([name, value]) => `-H ${named[name] ?? quoted(`${name}: ${value}`)}`)];
  if (init.body) lines.push(`-d ${quoted(init.body)}`);
  return lines.join(" \\\n  ");
}

/** The form that tries a call, and what fills in what is known whenever the call is opened. */
function tryIt(method, path, operation, parameters) {
  const shared = ["authorization", "boxoffice-pass"];
  const rows = inputs(parameters.filter((parameter) => !shared.includes(parameter.name.toLowerCase())));
  const schema = contents(operation.requestBody).find(([kind]) => kind.includes("json"))?.[1]?.schema;
  const body = schema ? make("textarea", { spellcheck: false }) : null;
  const [status, output, more] = [make("p", { role: "status" }), make("pre", { hidden: true, tabIndex: 0 }), make("div", {})];
  const send = make("button", { className: "send" }, "Send");
  const stop = make("button", { type: "button", hidden: true }, "Stop");
  const shell = make("pre", { tabIndex: 0 });
  const curl = make("details", {}, make("summary", {}, "As curl"), shell);
  let controller = new AbortController();
  let [filled, sent] = ["", true];
  const fill = () => {
    for (const { parameter, input } of rows) if (parameter.in === "path" && !input.value) input.value = known[parameter.name] ?? "";
    if (!body || body.value !== filled || !sent) return;
    filled = body.value = JSON.stringify({ ...example(schema), ...beginnings[operation.operationId] }, null, 2);
    body.rows = Math.min(24, filled.split("\n").length + 1);
    sent = false;
  };
  stop.addEventListener("click", () => controller.abort());
  curl.addEventListener("toggle", () => { shell.textContent = asCurl(request(method, path, rows, body)); });
  const form = make("form", {}, make("div", { className: "pair" }, ...rows.map((row) => row.label)), body ? make("label", {}, "Body", body) : null, send, stop, status, output, more, curl);
  form.addEventListener("input", () => { shell.textContent = asCurl(request(method, path, rows, body)); });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    controller.abort();
    const mine = controller = new AbortController();
    [stop.hidden, sent] = [false, true];
    status.className = "quiet";
    status.textContent = "Asking…";
    const started = performance.now();
    try {
      const { url, init } = request(method, path, rows, body);
      await show(await fetch(url, { ...init, signal: mine.signal }), started, status, output, more);
    } catch (error) {
      if (!mine.signal.aborted) {
        status.className = "no";
        status.textContent = `No answer: ${error.message}`;
      } else if (mine === controller) {
        status.textContent += " · stopped";
      }
    } finally {
      if (mine === controller) stop.hidden = true;
    }
  });
  return { form, fill };
}

/** What a call needs to be let in, in words. */
function needs(operation) {
  const ways = operation.security ?? openapi.security ?? [];
  if (!ways.length) return "No login needed.";
  if (ways.some((way) => Object.keys(way).length === 0)) return "With or without a login.";
  return operation.tags?.[0] === "operators" ? "Needs an operator's login." : "Needs a login.";
}

/** What is inside a call; made when it is opened, since most never are. */
function inside(method, path, item, operation) {
  const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map(resolve);
  const body = resolve(operation.requestBody);
  const taken = contents(body).map(([kind, content]) => make("div", {}, make("small", {}, kind), content.schema ? fields(content.schema) : null));
  const { form, fill } = tryIt(method, path, operation, parameters);
  const part = make("div", {},
    operation.description ? make("p", {}, ...prose(operation.description)) : null,
    make("p", { className: "quiet" }, needs(operation)),
    make("h3", {}, "Try it"), form,
    taken.length ? make("h3", {}, "Takes") : null, body.description ? make("p", {}, ...prose(body.description)) : null, ...taken,
    make("h3", {}, "Answers"), answers(operation));
  return { part, fill };
}

function call(method, path, item, operation) {
  const short = path.startsWith(base) ? [make("span", { className: "base" }, base), path.slice(base.length)] : [path];
  const summary = make("summary", {}, make("span", { className: `method ${method}` }, method.toUpperCase()),
    make("span", { className: "path" }, ...short.flatMap((part) => (typeof part === "string" ? breakable(part) : [part]))),
    make("span", { className: "what" }, ...prose(operation.summary)));
  const details = make("details", { className: "call", id: operation.operationId ?? `${method}-${path}` }, summary);
  let fill = null;
  details.addEventListener("toggle", () => {
    if (!details.open) return;
    if (!fill) {
      const made = inside(method, path, item, operation);
      details.append(made.part);
      fill = made.fill;
    }
    fill();
  });
  details.dataset.words = `${method} ${path} ${operation.summary ?? ""} ${operation.description ?? ""}`.toLowerCase();
  return details;
}

/** A path that breaks before a slash rather than inside a word. */
function breakable(path) {
  return path.split("/").flatMap((part, at) => (at ? [make("wbr", {}), `/${part}`] : [part]));
}

function list() {
  const byTag = new Map((openapi.tags ?? []).map((tag) => [tag.name, []]));
  for (const [path, item] of Object.entries(openapi.paths ?? {})) {
    for (const method of methods.filter((name) => item[name])) {
      const tag = item[method].tags?.[0] ?? "other";
      byTag.set(tag, [...(byTag.get(tag) ?? []), call(method, path, item, item[method])]);
    }
  }
  const described = Object.fromEntries((openapi.tags ?? []).map((tag) => [tag.name, tag.description]));
  const tags = [...byTag].filter(([, calls]) => calls.length);
  const idOf = (tag) => `group-${tag.replaceAll(" ", "-")}`;
  byId("groups").replaceChildren(...tags.map(([tag, calls]) => make("li", {}, make("a", { href: `#${idOf(tag)}` }, tag), make("small", {}, ` ${calls.length}`))));
  byId("calls").replaceChildren(...tags.map(([tag, calls]) => make("section", { id: idOf(tag) }, make("h2", {}, tag),
    described[tag] ? make("p", { className: "quiet" }, ...prose(described[tag])) : null, ...calls)));
  byId("way").replaceChildren(...way.filter(([id]) => byId(id)).map(([id, words]) => make("li", {}, make("a", { href: `#${id}` }, words))));
}

/** Opens the call that the address names. */
function openNamed() {
  const named = location.hash && byId(decodeURIComponent(location.hash.slice(1)));
  if (!(named instanceof HTMLDetailsElement)) return;
  named.open = true;
  named.scrollIntoView();
  named.querySelector("summary").focus({ preventScroll: true });
}

function find() {
  const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const section of document.querySelectorAll("main section")) {
    let any = false;
    for (const details of section.querySelectorAll("details.call")) {
      details.hidden = !words.every((word) => details.dataset.words.includes(word));
      any ||= !details.hidden;
    }
    section.hidden = !any;
  }
  byId("groups").hidden = words.length > 0;
  byId("none").hidden = document.querySelector("main section:not([hidden])") !== null;
}

async function start() {
  try {
    const response = await fetch("/api/v1/openapi.json");
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    openapi = await response.json();
    byId("version").textContent = openapi.info?.version ?? "";
    list();
    byId("find").addEventListener("input", find);
    byId("keys").addEventListener("submit", (event) => event.preventDefault());
    addEventListener("hashchange", openNamed);
    // A link to the call that the address names already is no change of address.
    byId("way").addEventListener("click", (event) => { if (event.target.hash === location.hash) openNamed(); });
    openNamed();
  } catch (error) {
    byId("calls").replaceChildren(make("p", { className: "no" }, `The document could not be read: ${error.message}`));
  }
}

start();
