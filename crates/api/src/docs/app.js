// Lists every call of openapi.json by tag, with what it takes and answers, and tries it.
// Kept true: everything from the document or an answer is put in as text, never as markup.
"use strict";

let openapi;
const methods = ["get", "post", "put", "patch", "delete", "head", "options"];
const byId = (id) => document.getElementById(id);

/** An element with properties and children; a child that is a string is text. */
function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
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
      inner.description ?? resolve(one).description ? ` — ${resolve(one).description ?? inner.description}` : null,
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

/** Something that fits the schema. Fields that need not be there are left out below the top; at the top, those that may be null. */
function example(schema, depth = 0) {
  const found = whole(schema);
  if (found.format === "uuid" || (found.type === "string" && /client.*UUID/.test(found.description ?? ""))) return newId();
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
    return depth > 6 ? {} : Object.fromEntries(names.map((name) => [name, example(found.properties[name], depth + 1)]));
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
    return [make("dt", { className: status < "400" ? "ok" : "no" }, status), make("dd", {}, found.description ?? "", ...bodies)];
  }));
}

/** An input for each parameter; the header that all tries share is above. */
function inputs(parameters) {
  const rows = parameters.map((parameter) => {
    const input = make("input", { autocomplete: "off", spellcheck: false, required: parameter.in === "path" });
    const hint = [parameter.in, parameter.description].filter(Boolean).join(": ");
    const label = make("label", {}, make("code", {}, parameter.name), ` ${hint}`, parameter.required ? make("span", { className: "needed" }, " required") : null, input);
    return { parameter, input, label };
  });
  return rows;
}

/** Puts a token or pass of an answer where the next try finds it. */
function keep(answer) {
  if (typeof answer?.access_token === "string") byId("token").value = answer.access_token;
  if (typeof answer?.pass === "string") byId("pass").value = answer.pass;
}

const LINES_MAX = 400;

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

async function show(response, started, status, output) {
  status.className = response.ok ? "ok" : "no";
  status.textContent = `${response.status} ${response.statusText} · ${Math.round(performance.now() - started)} ms`;
  const kind = response.headers.get("content-type") ?? "";
  output.hidden = false;
  output.textContent = "";
  if (kind.startsWith("text/event-stream")) return follow(response, output);
  const text = await response.text();
  const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
  let body = text;
  if (kind.includes("json") && text) {
    const answer = JSON.parse(text);
    keep(answer);
    body = JSON.stringify(answer, null, 2);
  }
  output.textContent = `${headers}\n\n${body}`;
}

/** The request that the form says. */
function request(method, path, rows, body, controller) {
  const query = new URLSearchParams();
  const headers = {};
  for (const { parameter, input } of rows) {
    const value = input.value.trim();
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(value));
    else if (value && parameter.in === "query") query.set(parameter.name, value);
    else if (value && parameter.in === "header") headers[parameter.name] = value;
  }
  if (byId("token").value.trim()) headers.Authorization = `Bearer ${byId("token").value.trim()}`;
  if (byId("pass").value.trim()) headers["Boxoffice-Pass"] = byId("pass").value.trim();
  if (body) headers["Content-Type"] = "application/json";
  const url = query.size ? `${path}?${query}` : path;
  return fetch(url, { method: method.toUpperCase(), headers, body: body ? body.value : undefined, signal: controller.signal, cache: "no-store" });
}

function tryIt(method, path, operation, parameters) {
  const shared = ["authorization", "boxoffice-pass"];
  const rows = inputs(parameters.filter((parameter) => !shared.includes(parameter.name.toLowerCase())));
  const schema = contents(operation.requestBody).find(([kind]) => kind.includes("json"))?.[1]?.schema;
  const body = schema ? make("textarea", { value: JSON.stringify(example(schema), null, 2), spellcheck: false }) : null;
  const status = make("p", { role: "status" });
  const output = make("pre", { hidden: true, tabIndex: 0 });
  const send = make("button", { className: "send" }, "Send");
  const stop = make("button", { type: "button", hidden: true }, "Stop");
  let controller = new AbortController();
  stop.addEventListener("click", () => controller.abort());
  const form = make("form", {}, make("div", { className: "pair" }, ...rows.map((row) => row.label)), body ? make("label", {}, "Body", body) : null, send, stop, status, output);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    controller.abort();
    const mine = controller = new AbortController();
    stop.hidden = false;
    status.className = "quiet";
    status.textContent = "Asking…";
    const started = performance.now();
    try {
      await show(await request(method, path, rows, body, mine), started, status, output);
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
  return form;
}

/** What is inside a call; made when it is opened, since most never are. */
function inside(method, path, item, operation) {
  const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map(resolve);
  const body = resolve(operation.requestBody);
  const taken = contents(body).map(([kind, content]) => make("div", {}, make("small", {}, kind), content.schema ? fields(content.schema) : null));
  const needs = (operation.security ?? openapi.security ?? []).flatMap(Object.keys);
  return make("div", {},
    operation.description ? make("p", {}, operation.description) : null,
    needs.length ? make("p", { className: "quiet" }, `Needs: ${[...new Set(needs)].join(", ")}`) : null,
    taken.length ? make("h3", {}, "Takes") : null, body.description ? make("p", {}, body.description) : null, ...taken,
    make("h3", {}, "Answers"), answers(operation),
    make("h3", {}, "Try it"), tryIt(method, path, operation, parameters));
}

function call(method, path, item, operation) {
  const summary = make("summary", {}, make("span", { className: `method ${method}` }, method.toUpperCase()),
    make("span", { className: "path" }, path), make("span", { className: "what" }, operation.summary ?? ""));
  const details = make("details", { className: "call", id: operation.operationId ?? `${method}-${path}` }, summary);
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(inside(method, path, item, operation));
  });
  details.dataset.words = `${method} ${path} ${operation.summary ?? ""} ${operation.description ?? ""}`.toLowerCase();
  return details;
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
  const sections = [...byTag].filter(([, calls]) => calls.length)
    .map(([tag, calls]) => make("section", {}, make("h2", {}, tag), described[tag] ? make("p", { className: "quiet" }, described[tag]) : null, ...calls));
  byId("calls").replaceChildren(...sections);
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
}

async function start() {
  try {
    const response = await fetch("/api/v1/openapi.json");
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    openapi = await response.json();
    byId("version").textContent = openapi.info?.version ?? "";
    list();
    byId("find").addEventListener("input", find);
    const named = location.hash && byId(decodeURIComponent(location.hash.slice(1)));
    if (named instanceof HTMLDetailsElement) named.open = true;
  } catch (error) {
    byId("calls").replaceChildren(make("p", { className: "no" }, `The document could not be read: ${error.message}`));
  }
}

start();
