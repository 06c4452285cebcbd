/** What Python finds, as tests/js/test_browser_package.py of the repository writes it. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const FOLDER = process.env.FACEKD_EXPECTED;

export interface ExpectedFace {
  box: number[];
  score: number;
  points: [number, number][];
  confidence: number[];
  faceConfidence: number;
  pose: { yaw: number; pitch: number; roll: number };
  eyeOpenness: { left: number; right: number };
  mouthOpenness: number;
}

export interface Expected {
  keys: string[];
  photos: { file: string; faces: ExpectedFace[]; boxes: number[][]; given: ExpectedFace[]; enhanced: boolean }[];
  frames: { file: string; time: number; tracked: { id: number; points: [number, number][]; raw: [number, number][] }[] }[];
  networks: { file: string; boxes: number[][]; faces: { points: [number, number][]; confidence: number[] | null }[] }[];
  pixels: {
    file: string;
    size: [number, number];
    shrink: { file: string; scale: number; size: [number, number]; step: [number, number] }[];
    warp: { file: string; size: number; matrix: number[] }[];
    thumbnail: string;
    chip: { file: string; box: number[]; roll: number };
    enhance: { file: string; size: [number, number]; is_crop: boolean }[];
  };
  poses: { points: [number, number][]; pose: { yaw: number; pitch: number; roll: number } }[];
}

export function read(file: string): Buffer {
  return readFileSync(join(FOLDER!, file));
}

export function expected(): Expected {
  return JSON.parse(read('expected.json').toString());
}
