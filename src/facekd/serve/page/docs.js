// The OpenAPI schema as a page; ready-made ones load their scripts from elsewhere.

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const code = (text) => element("code", { textContent: text });

/** A type in words: "list of numbers", "FaceJson". */
function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.type === "array") return `list of ${typeOf(schema.items) || "anything"}`;
  if (schema.format === "binary") return "file";
  return schema.type ?? "";
}

/** The bounds and the default of a value. */
function rangeOf(schema) {
  const bounds = [schema, ...(schema.anyOf ?? [])].flatMap(({ minimum, maximum }) => [
    minimum === undefined ? "" : `at least ${minimum}`, maximum === undefined ? "" : `at most ${maximum}`]);
  const given = schema.default ?? undefined;
  return [...bounds, given === undefined ? "" : `default ${given}`].filter(Boolean).join(", ");
}

function table(heads, rows) {
  const row = (kind) => (cells) => element("tr", {}, ...cells.map((cell) => element(kind, {}, cell)));
  return element("table", {}, element("thead", {}, row("th")(heads)), element("tbody", {}, ...rows.map(row("td"))));
}

function example(path, method, operation) {
  const address = `${window.location.origin}${path}`;
  const form = operation.requestBody?.content["multipart/form-data"]?.schema;
  const [field] = Object.keys(form?.properties ?? {});
  const many = form?.properties[field].type === "array";
  const files = field ? ` -F ${field}=@${many ? "one" : "photo"}.jpg${many ? ` -F ${field}=@two.jpg` : ""}` : "";
  return element("pre", {}, `curl${files} '${address}'`);
}

function operationSection(path, method, operation) {
  const parts = [
    element("h2", {}, element("span", { className: "method", textContent: method.toUpperCase() }), " ", code(path)),
    element("p", {}, `${operation.summary}. ${operation.description ?? ""}`),
    example(path, method, operation),
  ];
  if (operation.parameters?.length) {
    const rows = operation.parameters.map(({ name, schema, description }) => (
      [code(name), typeOf(schema).replace(" or null", ""), [description ?? schema.description, rangeOf(schema)].filter(Boolean).join("; ")]));
    parts.push(table(["Query", "Type", ""], rows));
  }
  const answers = Object.entries(operation.responses).map(([status, { description, content }]) => {
    const [schema] = Object.values(content ?? {}).map((one) => one.schema);
    return [code(status), typeOf(schema), description];
  });
  parts.push(table(["Status", "Answer", ""], answers));
  return element("section", {}, ...parts);
}

function schemaSection(name, { description, properties = {} }) {
  const rows = Object.entries(properties).map(([key, schema]) => (
    [code(key), typeOf(schema), [schema.description, rangeOf(schema)].filter(Boolean).join("; ")]));
  return element("section", {}, element("h2", { id: name }, code(name)), element("p", {}, description ?? ""),
    table(["Key", "Type", ""], rows));
}

const main = document.getElementById("main");
try {
  const schema = await (await fetch("/openapi.json")).json();
  const operations = Object.entries(schema.paths).flatMap(([path, methods]) => (
    Object.entries(methods).map(([method, operation]) => operationSection(path, method, operation))));
  main.replaceChildren(
    element("p", {}, `${schema.info.title} ${schema.info.version}. ${schema.info.description} `,
      element("a", { href: "/openapi.json", textContent: "The OpenAPI schema" }), "."),
    ...operations,
    element("h2", { textContent: "Answers" }),
    ...Object.entries(schema.components.schemas).map(([name, one]) => schemaSection(name, one)),
  );
} catch (error) {
  main.replaceChildren(element("p", { className: "error", textContent: `The schema cannot be loaded: ${error.message}` }));
}
