/** Images in, faces with landmarks out. */

import { type Detector, YuNet, type YuNetOptions } from './detector.js';
import { Engine } from './engine.js';
import { InputError, ModelError } from './errors.js';
import type { Face } from './face.js';
import { FaceFinder, type BoxType } from './finder.js';
import type { Box, BoxTransform } from './geometry.js';
import { LandmarkNetwork, type ModelCard } from './model.js';
import { type ImageSource, readPixels } from './pixels.js';
import { type Detection, YuNetNetwork } from './yunet.js';

// Beside this script, where the package has them.
const HERE = import.meta.url;
const TRUSTED = 0.5;
const MOST_THREADS = 4; // of what a network this small gains by

/** What faces are searched for: of any roll, or upright ones alone. */
export type Roll = 'any' | 'upright';

/** Settings of `Landmarker.create`. */
export interface LandmarkerOptions {
  /** The landmark network: URL of a .tflite file that `facekd export` wrote, or its bytes. Default: facekd-68-lite. */
  model?: string | URL | Uint8Array<ArrayBuffer>;
  /** What finds the faces: URL or bytes of yunet.tflite, or an object with a method `detect`. Default: YuNet. */
  detector?: string | URL | Uint8Array<ArrayBuffer> | Detector;
  /** Settings of the default detector. */
  yunet?: YuNetOptions;
  /** URL of the folder with LiteRT's files. Default: `litert/` beside this script. */
  litert?: string | URL;
  /** CPU threads; more than one needs a page that is cross-origin isolated. Default: as many as there are cores, up to 4. */
  threads?: number;
  /**
   * "any" (default): if no face is found, or one whose landmarks cannot be trusted, the image is turned by 90, 180 and 270
   * degrees and searched again; "upright": never.
   */
  roll?: Roll;
  /** Lowest `Face.faceConfidence` of faces that are returned, in [0, 1]; default 0.5. It does not count for given boxes. */
  minConfidence?: number;
  /**
   * How a detector's box becomes the tight landmark box, or with a mark-up of `crop: face` the box of the face. Default: the
   * model card's, which was fitted to YuNet. Without one only boxes that are given can be used.
   */
  boxTransform?: BoxTransform;
}

/** Settings of `Landmarker.detect`. */
export interface DetectOptions {
  /** Boxes of the faces, in pixels of the image; skips detection, one face per box in the same order. */
  boxes?: readonly Box[];
  /** What `boxes` are: "detector" (default), like a face detector's; or "landmarks", tight about the landmarks. */
  boxType?: BoxType;
  /**
   * Degrees, one or per box, by which the faces in `boxes` are rotated, clockwise as seen. Not given: those that cannot be
   * trusted upright are tried in the other three quarters of the circle.
   */
  roll?: number | readonly number[];
  /** Most faces to return, the largest. It does not count for `boxes`. */
  maxFaces?: number;
}

/** Finds faces and their landmarks in images. It works in pages and in workers. */
export class Landmarker {
  private deleted = false;

  private constructor(
    private readonly finder: FaceFinder,
    /** CPU threads of the networks. */
    readonly threads: number,
  ) {}

  /**
   * Load the networks.
   *
   * @throws InputError if a setting is not what it may be.
   * @throws ModelError if a file cannot be had or used.
   */
  static async create(options: LandmarkerOptions = {}): Promise<Landmarker> {
    const { roll = 'any', minConfidence = TRUSTED, yunet } = options;
    if (roll !== 'any' && roll !== 'upright') throw new InputError(`roll '${roll}' is neither 'any' nor 'upright'`);
    if (!(minConfidence >= 0 && minConfidence <= 1)) {
      throw new InputError(`minConfidence must be within 0 and 1, got ${minConfidence}`);
    }
    if (options.boxTransform) checkTransform(options.boxTransform);
    const threads = options.threads ?? Math.min(globalThis.navigator?.hardwareConcurrency ?? 1, MOST_THREADS);
    if (!(threads >= 1)) throw new InputError(`threads must be 1 or more, got ${threads}`);
    const { model: modelFile = new URL('models/facekd-68-lite.tflite', HERE) } = options;
    const { detector: given = new URL('models/yunet.tflite', HERE) } = options;
    const [engine, file, own] = await Promise.all([
      Engine.load(`${new URL(folder(options.litert ?? 'litert/'), HERE)}`, threads),
      bytes(modelFile),
      isDetector(given) ? given : bytes(given),
    ]);
    const detector = own instanceof Uint8Array ? new YuNet(await YuNetNetwork.load(engine, own), yunet) : own;
    const model = await LandmarkNetwork.load(engine, file, nameOf(modelFile));
    const boxTransform = options.boxTransform ?? model.card.boxTransform;
    return new Landmarker(new FaceFinder(model, detector, boxTransform, roll === 'any', minConfidence), engine.threads);
  }

  /** The network's model card. */
  get card(): ModelCard {
    return this.finder.model.card;
  }

  /** What is searched for; always "upright" if the network has no face calibration. */
  get roll(): Roll {
    return this.finder.anyRoll ? 'any' : 'upright';
  }

  /**
   * How a detector's box becomes the network's.
   *
   * @throws ModelError if that is not known, so that boxes have to be given.
   */
  get boxTransform(): BoxTransform {
    return this.finder.boxTransform;
  }

  /**
   * Find the faces of an image.
   *
   * @returns The faces whose landmarks can be trusted (`minConfidence`), best score first, or with `maxFaces` largest first; an
   *   empty list if there are none.
   * @throws InputError if the image cannot be read, a box is not a box, or a setting is not what it may be.
   * @throws ModelError if the landmarker was deleted, or how boxes of a detector become the network's is not known.
   */
  async detect(image: ImageSource, options: DetectOptions = {}): Promise<Face[]> {
    this.checkLoaded();
    const { boxes, boxType = 'detector', roll, maxFaces } = options;
    if (maxFaces !== undefined && !(maxFaces >= 1)) {
      throw new InputError(`maxFaces must be 1 or more, got ${maxFaces}; leave it out for all faces`);
    }
    if (boxType !== 'detector' && boxType !== 'landmarks') {
      throw new InputError(`boxType '${boxType}' is neither 'detector' nor 'landmarks'`);
    }
    const pixels = readPixels(image);
    if (!boxes) {
      if (roll === undefined) return this.finder.find(pixels, maxFaces);
      throw new InputError('roll says how the faces in given boxes are rotated; give boxes with it, or leave it out');
    }
    boxes.forEach(check);
    if (typeof roll === 'object' && roll.length !== boxes.length) {
      throw new InputError(`there are ${boxes.length} boxes but ${roll.length} rolls; give one number, or one for each box`);
    }
    const rolls = roll === undefined ? null : boxes.map((_, index) => (typeof roll === 'number' ? roll : roll[index]));
    if (rolls && !rolls.every(Number.isFinite)) throw new InputError('roll must be a number, or one for each box');
    return this.finder.findIn(pixels, boxes, boxType, rolls);
  }

  /**
   * Run only the face detector.
   *
   * @returns Best score first.
   * @throws InputError if the image cannot be read.
   * @throws ModelError if the landmarker was deleted.
   */
  async detectBoxes(image: ImageSource): Promise<Detection[]> {
    this.checkLoaded();
    return this.finder.detector.detect(readPixels(image));
  }

  /** Give the networks' memory back, which no garbage collector does. */
  delete(): void {
    if (this.deleted) return;
    this.deleted = true;
    this.finder.model.delete();
    this.finder.detector.delete?.();
  }

  private checkLoaded(): void {
    if (this.deleted) throw new ModelError('this landmarker was deleted; create another one');
  }
}

function isDetector(given: object | string): given is Detector {
  return typeof given === 'object' && given !== null && 'detect' in given;
}

function folder(url: string | URL): string {
  const text = `${url}`;
  return text.endsWith('/') ? text : `${text}/`;
}

function nameOf(file: string | URL | Uint8Array): string {
  return file instanceof Uint8Array ? 'the network' : `${file}`;
}

async function bytes(file: string | URL | Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  if (file instanceof Uint8Array) return file;
  let response: Response;
  try {
    response = await fetch(file);
  } catch (error) {
    throw new ModelError(`${file} cannot be fetched (${(error as Error).message}); serve it with the page`);
  }
  if (!response.ok) throw new ModelError(`${file} cannot be fetched (status ${response.status}); serve it with the page`);
  return new Uint8Array(await response.arrayBuffer());
}

function checkTransform({ scale, shiftX, shiftY }: BoxTransform): void {
  if (scale > 0 && [scale, shiftX, shiftY].every(Number.isFinite)) return;
  const given = `scale ${scale}, shiftX ${shiftX}, shiftY ${shiftY}`;
  throw new InputError(`a box transform needs a scale above 0 and finite shifts, got ${given}`);
}

function check(box: Box, index: number): void {
  const [x0, y0, x1, y1] = box;
  if (box.length === 4 && box.every(Number.isFinite) && x1 > x0 && y1 > y0) return;
  throw new InputError(`box ${index} is [${box}]; it needs four finite numbers with x0 < x1 and y0 < y1`);
}
