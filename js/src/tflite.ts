/** What lies in a .tflite file: the shapes of its tensors, and the model card behind the network. */

import { ModelError } from './errors.js';

const CARD = 'facekd.json';
const IDENTIFIER = 'TFL3'; // bytes 4 to 7 of a .tflite file
// Signatures and lengths of the records of a ZIP archive (PKWARE's APPNOTE.TXT, sections 4.3.7, 4.3.12 and 4.3.16).
const END = 0x06054b50;
const END_LENGTH = 22;
const ENTRY = 0x02014b50;
const ENTRY_LENGTH = 46;
const LOCAL_LENGTH = 30;
const DEFLATED = 8;

/** A network and the model card that stood behind it. */
export interface Split {
  network: Uint8Array<ArrayBuffer>;
  card: unknown;
}

/**
 * Take a file that `facekd export` wrote apart.
 *
 * @param file the .tflite file.
 * @param name what errors call it.
 * @returns The network's bytes, and the card as parsed JSON.
 * @throws ModelError if there is no card.
 */
export async function split(file: Uint8Array<ArrayBuffer>, name: string): Promise<Split> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const end = file.byteLength - END_LENGTH;
  if (end < 0 || view.getUint32(end, true) !== END) {
    throw new ModelError(`${name} holds no model card, so it is not as \`facekd export\` wrote it; export it again`);
  }
  let start = file.byteLength;
  let card: Uint8Array<ArrayBuffer> | undefined;
  let packed = false;
  let entry = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    if (view.getUint32(entry, true) !== ENTRY) break;
    const nameLength = view.getUint16(entry + 28, true);
    const local = view.getUint32(entry + 42, true);
    start = Math.min(start, local);
    if (text(file.subarray(entry + ENTRY_LENGTH, entry + ENTRY_LENGTH + nameLength)) === CARD) {
      const from = local + LOCAL_LENGTH + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
      card = file.subarray(from, from + view.getUint32(entry + 20, true));
      packed = view.getUint16(entry + 10, true) === DEFLATED;
    }
    entry += ENTRY_LENGTH + nameLength + view.getUint16(entry + 30, true) + view.getUint16(entry + 32, true);
  }
  if (!card) throw new ModelError(`${name} holds no model card; export it again`);
  return { network: file.slice(0, start), card: JSON.parse(text(packed ? await inflate(card) : card)) };
}

/**
 * Write a fully convolutional network for images of another size.
 *
 * The sides of every tensor that is computed are multiplied: `facekd.exporters.yunet_litert` says which files can have that.
 *
 * @param file the .tflite file; it stays as it is.
 * @param rows by how much to multiply the heights.
 * @param columns by how much to multiply the widths.
 * @returns The file with other shapes.
 * @throws ModelError if it is no .tflite file.
 */
export function withSize(file: Uint8Array<ArrayBuffer>, rows: number, columns: number): Uint8Array<ArrayBuffer> {
  const resized = file.slice();
  if (text(file.subarray(4, 8)) !== IDENTIFIER) {
    throw new ModelError("the face detector's file is no .tflite file; serve the package's models/yunet.tflite");
  }
  const table = new Table(new DataView(resized.buffer));
  const [subgraph] = table.root().vector(2);
  for (const tensor of subgraph.vector(0)) {
    if (tensor.uint32(2) !== 0) continue; // weights have a buffer of their own
    const shape = tensor.field(0);
    table.view.setInt32(shape + 8, table.view.getInt32(shape + 8, true) * rows, true);
    table.view.setInt32(shape + 12, table.view.getInt32(shape + 12, true) * columns, true);
  }
  return resized;
}

/** A table of a FlatBuffer (https://flatbuffers.dev/internals): fields by their numbers in LiteRT's schema.fbs. */
class Table {
  constructor(
    readonly view: DataView,
    private readonly position = 0,
  ) {}

  root(): Table {
    return this.at(0);
  }

  /** Position of what a field refers to: the length of a vector, which its items follow. */
  field(number: number): number {
    const position = this.position + this.offset(number);
    return position + this.view.getUint32(position, true);
  }

  /** The tables of a vector. */
  vector(number: number): Table[] {
    const start = this.field(number);
    const length = this.view.getUint32(start, true);
    return Array.from({ length }, (_, index) => this.at(start + 4 + 4 * index));
  }

  /** A number; 0, the default, is not written. */
  uint32(number: number): number {
    const offset = this.offset(number);
    return offset ? this.view.getUint32(this.position + offset, true) : 0;
  }

  private at(position: number): Table {
    return new Table(this.view, position + this.view.getUint32(position, true));
  }

  private offset(number: number): number {
    const layout = this.position - this.view.getInt32(this.position, true);
    const entry = 4 + 2 * number;
    return entry < this.view.getUint16(layout, true) ? this.view.getUint16(layout + entry, true) : 0;
  }
}

async function inflate(packed: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
