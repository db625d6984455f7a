// Runs calls of the core in a module of WebAssembly: node run_wasm.mjs MODULE PROGRAM (see native_program.py).
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const [modulePath, programPath] = process.argv.slice(2);
const module = new WebAssembly.Module(readFileSync(modulePath));
const imports = WebAssembly.Module.imports(module);
if (imports.length) throw new Error(`imports: ${imports.map(({ name }) => name)}`);
const core = new WebAssembly.Instance(module, {}).exports;

const { base, image, calls, outputs } = JSON.parse(readFileSync(programPath, "utf8"));
if (core.vq_heap_base() > base) throw new Error(`memory is free from ${core.vq_heap_base()} on only`);
const bytes = readFileSync(image);
core.memory.grow(Math.ceil((base + bytes.length - core.memory.buffer.byteLength) / 65536));
new Uint8Array(core.memory.buffer).set(bytes, base);

const results = calls.map(([name, values]) => core[name](...values)).filter((result) => result !== undefined);
const made = { results: results.map(Number) };
for (const [name, [address, length]] of Object.entries(outputs))
  made[name] = createHash("sha256").update(new Uint8Array(core.memory.buffer, address, length)).digest("hex");
console.log(JSON.stringify(made));
