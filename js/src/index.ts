/** Face landmarks in the browser: small, fast networks, distilled from large ones. */

export type { Detector, YuNetOptions } from './detector.js';
export { FacekdError, InputError, ModelError } from './errors.js';
export { Face } from './face.js';
export type { BoxType } from './finder.js';
export type { Box, BoxTransform, Point } from './geometry.js';
export { type DetectOptions, Landmarker, type LandmarkerOptions, type Roll } from './landmarker.js';
export type { Contour, MarkUp } from './markup.js';
export type { FaceCalibration, ModelCard } from './model.js';
export type { ImageSource, Pixels } from './pixels.js';
export { headPose, type Pose } from './pose.js';
export { OneEuro, type Smoothing } from './smoothing.js';
export { type TrackedFace, Tracker, type TrackerOptions } from './tracking.js';
export type { Detection } from './yunet.js';
