/** LiteRT: the one module that imports it. It runs .tflite networks on the CPU, in WebAssembly. */

import {
  Environment,
  type LiteRt,
  loadLiteRt,
  supportsFeature,
  Tensor,
  type TypedArray,
} from '@litertjs/core';

import { ModelError } from './errors.js';

type CompiledModel = Awaited<ReturnType<LiteRt['loadAndCompile']>>;

const NEWS = /^(INFO|WARNING): /; // what LiteRT says of itself while all is well

/** Globals of LiteRT.js: how it finds the WebAssembly module that a script has made. */
interface Scope {
  importScripts?: (url: string) => void;
  Module?: {
    locateFile: (file: string) => string;
    mainScriptUrlOrBlob: string; // of the threads
    printErr: (line: string) => void;
  };
  ModuleFactory?: unknown;
}

// Threads beside the calling one that networks may still start. LiteRT.js makes as many as there are cores when it loads, and
// waits for ever for one more.
let idle = 0;
let loading: Promise<LiteRt> | undefined;

/** LiteRT, loaded once per page or worker. */
export class Engine {
  private constructor(
    private readonly liteRt: LiteRt,
    /** CPU threads of a network. */
    readonly threads: number,
  ) {}

  /**
   * Load LiteRT, unless it is loaded already: then as it was.
   *
   * @param folder URL of the folder with LiteRT's files, as they lie in the package's `dist/litert/`.
   * @param threads CPU threads of a network; more than one needs a page that is cross-origin isolated.
   * @throws ModelError if a file cannot be had.
   */
  static async load(folder: string, threads: number): Promise<Engine> {
    loading ??= start(folder, threads > 1);
    try {
      const liteRt = await loading;
      return new Engine(liteRt, liteRt.liteRtWasm.getThreadCount() > 1 ? threads : 1);
    } catch (error) {
      loading = undefined;
      throw new ModelError(`LiteRT cannot be loaded from ${folder} (${message(error)}); serve dist/litert there`);
    }
  }

  /**
   * Make a network ready to run.
   *
   * @param content of the .tflite file.
   * @throws ModelError if it is damaged, or has operators that are unknown here.
   */
  async network(content: Uint8Array): Promise<Network> {
    const taken = Math.min(this.threads - 1, idle);
    idle -= taken;
    try {
      const options = { accelerator: 'wasm', cpuOptions: { numThreads: 1 + taken } } as const;
      return new Network(await this.liteRt.loadAndCompile(content, options), taken);
    } catch (error) {
      idle += taken;
      throw new ModelError(`LiteRT cannot load the network (${message(error)}); download it again`);
    }
  }
}

/** A network that is ready to run. It holds memory that no garbage collector sees: `delete` gives it back. */
export class Network {
  private readonly input: string;
  private readonly shape: number[];

  /** @param threads that it has started, beside the calling one. */
  constructor(
    private readonly model: CompiledModel,
    private readonly threads: number,
  ) {
    const [input] = model.getInputDetails();
    this.input = input.name;
    this.shape = [...input.shape];
  }

  /** Sizes of the input, batch first. */
  get inputShape(): readonly number[] {
    return this.shape;
  }

  /** Sizes of the outputs, by name. */
  get outputShapes(): Record<string, readonly number[]> {
    return Object.fromEntries(this.model.getOutputDetails().map((output) => [output.name, [...output.shape]]));
  }

  /**
   * Run the network.
   *
   * @param values of the input, of its type and as many as it takes.
   * @returns The outputs by name.
   */
  async run(values: TypedArray): Promise<Record<string, Float32Array>> {
    const tensor = new Tensor(values, this.shape);
    try {
      const outputs = await this.model.run({ [this.input]: tensor });
      const found: Record<string, Float32Array> = {};
      for (const [name, output] of Object.entries(outputs)) {
        found[name] = output.toTypedArray().slice() as Float32Array;
        output.delete();
      }
      return found;
    } finally {
      tensor.delete();
    }
  }

  /** Give the memory back; the network cannot be run any more. */
  delete(): void {
    if (!this.model.deleted) idle += this.threads;
    this.model.delete();
  }
}

/**
 * Start LiteRT.js in a page or a worker.
 *
 * By itself it works in pages and classic workers only, whose `importScripts` module workers lack, and asks for a GPU, which
 * nothing here uses. So its script is imported as a module, and the two functions stand aside while it starts.
 */
async function start(folder: string, several: boolean): Promise<LiteRt> {
  const relaxed = await supportsFeature('relaxedSimd'); // else LiteRT.js has no threads, either
  const threads = several && relaxed && globalThis.crossOriginIsolated && (await supportsFeature('threads'));
  const script = new URL(`litert_wasm_${threads ? 'threaded_' : relaxed ? '' : 'compat_'}internal.js`, folder).href;
  const scope = globalThis as Scope;
  await import(/* @vite-ignore */ /* webpackIgnore: true */ script);
  scope.Module = {
    locateFile: (file) => new URL(file, folder).href,
    mainScriptUrlOrBlob: script,
    printErr: (line) => {
      if (!NEWS.test(line)) console.error(line);
    },
  };
  const { importScripts } = scope;
  const { create } = Environment;
  scope.importScripts = () => {};
  Environment.create = async () => new Environment({ webGpuDevice: null });
  try {
    const liteRt = await loadLiteRt(folder, { threads });
    idle = threads ? navigator.hardwareConcurrency : 0;
    return liteRt;
  } finally {
    Environment.create = create;
    if (importScripts) scope.importScripts = importScripts;
    else delete scope.importScripts;
  }
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
