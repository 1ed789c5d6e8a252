// Validates GraphQL requests against GitHub's public schema, and their answers by completing them as a server would:
// types, nullability, lists, enums, and that every field asked for is there.
// Types and fields that this version of the schema does not have yet are named; each must be asked for.
// node schema.cjs PACKAGE_FOLDER EXCHANGES_FILE [NEWER]...
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");

const [folder, file, ...newer] = process.argv.slice(2);
const { buildSchema, execute, parse, validate } = createRequire(path.join(folder, "package.json"))("graphql");

const schema = buildSchema(fs.readFileSync(path.join(folder, "schema.graphql"), "utf8"), { assumeValidSDL: true });
const exchanges = JSON.parse(fs.readFileSync(file, "utf8"));
const problems = new Map();
const documents = new Map();

const met = new Set();

function newerOf(problem) {
  const named =
    /^Unknown type "(\w+)"/.exec(problem) ??
    /^Cannot query field "(\w+)" on type "Issue"/.exec(problem) ??
    /resolved to a type "(\w+)" that does not exist/.exec(problem);
  return newer.includes(named?.[1]) ? named[1] : undefined;
}

function tell(problem, example) {
  const name = newerOf(problem);
  if (name) return void met.add(name);
  if (!problems.has(problem)) problems.set(problem, example);
}

function documentOf(query) {
  if (!documents.has(query)) {
    const document = parse(query);
    for (const error of validate(schema, document)) tell(error.message, query.slice(0, 200));
    documents.set(query, document);
  }
  return documents.get(query);
}

// The answer itself says what each field is.
function fieldResolver(source, _arguments, _context, info) {
  const key = info.path.key;
  if (!Object.hasOwn(source, key)) throw new Error(`${info.parentType.name}.${info.fieldName} is not answered`);
  return source[key];
}

// What a server said to take in `itemTypes`: a newer value is the name of a newer type.
function variablesOf({ types, ...variables }) {
  if (!types) return variables;
  const isKnown = (value) => schema.getType("PullRequestTimelineItemsItemType").getValue(value);
  const nameOf = (value) => value.replace(/([A-Z])([A-Z0-9]*)_?/g, (_, first, rest) => first + rest.toLowerCase());
  for (const value of types.filter((value) => !isKnown(value))) tell(`Unknown type "${nameOf(value)}"`, value);
  return { ...variables, types: types.filter(isKnown) };
}

// What GitHub answers to introspection is the schema's own business.
const isIntrospection = (query) => query.includes("__type(");

for (const { request, answer } of exchanges) {
  const document = documentOf(request.query);
  if (!answer.data || isIntrospection(request.query)) continue;
  const refused = new Set((answer.errors ?? []).map((error) => JSON.stringify(error.path)));
  const completed = execute({
    schema,
    document,
    rootValue: answer.data,
    variableValues: variablesOf(request.variables),
    fieldResolver,
    // Without its name in the answer an object may be any of the interface's types: their common fields are asked for.
    typeResolver: (value, _context, _info, abstract) =>
      value.__typename ?? schema.getPossibleTypes(abstract)[0].name,
  });
  for (const error of completed.errors ?? []) {
    if (refused.has(JSON.stringify(error.path))) continue;
    tell(error.message, (error.path ?? []).join("."));
  }
}

for (const name of newer) {
  if (!met.has(name)) problems.set(`${name} is said to be newer, and is not asked for or known by now`, "");
}
for (const [problem, example] of problems) console.log(`${problem}\n    ${example}`);
console.log(`${exchanges.length} exchanges, ${problems.size} problems`);
process.exitCode = problems.size === 0 && exchanges.length > 0 ? 0 : 1;
