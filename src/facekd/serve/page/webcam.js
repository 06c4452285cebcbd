// Faces followed live: frames go to the server one after another, and each is shown with its own landmarks.

import { ApiError, faces } from "./api.js";
import { drawFaces } from "./overlay.js";

const LARGEST = 640; // pixels of a frame's longer side
const IN_FLIGHT = 2; // frames at the server at the same time: one is sent while another is processed
const WINDOW = 2000; // milliseconds over which frames are counted

/** A camera that is shown in `place`; `settings()` gives the query, `markup(name)` a mark-up. */
export class Webcam {
  constructor(place, { settings, markup, speed, failed }) {
    Object.assign(this, { place, settings, markup, speed, failed });
    this.running = false;
  }

  async start() {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new ApiError("Browsers give cameras only to pages of this machine (localhost) or over https.");
    }
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" }, audio: false });
    } catch (error) {
      const sentences = {
        NotAllowedError: "The browser was not allowed to use the camera.",
        NotFoundError: "There is no camera here.",
        NotReadableError: "The camera is in use by another program.",
      };
      throw new ApiError(sentences[error.name] ?? `The camera does not start: ${error.message}`);
    }
    this.video = Object.assign(document.createElement("video"), { srcObject: this.stream, muted: true, playsInline: true });
    await this.video.play();
    const stage = Object.assign(document.createElement("div"), { className: "stage mirrored" });
    this.canvas = document.createElement("canvas");
    this.svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.svg.setAttribute("role", "img");
    this.svg.setAttribute("aria-label", "The faces that the camera sees");
    stage.append(this.canvas, this.svg);
    this.place.replaceChildren(stage);
    this.running = true;
    this.sent = this.shown = 0;
    this.times = [];
    this.abort = new AbortController();
    for (let i = 0; i < IN_FLIGHT; i += 1) this.follow(this.abort.signal);
  }

  stop() {
    if (!this.running) return;
    this.running = false;
    this.abort.abort();
    this.stream.getTracks().forEach((track) => track.stop());
    this.video.srcObject = null;
  }

  /** Send frames until the end; of two that overtake each other the older one is not shown. */
  async follow(signal) {
    while (this.running && !signal.aborted) {
      const frame = this.frame();
      const number = (this.sent += 1);
      const start = performance.now();
      try {
        const blob = await frame.convertToBlob({ type: "image/jpeg", quality: 0.85 });
        const answer = await faces(blob, this.settings(), signal);
        if (signal.aborted) return;
        if (number > this.shown) this.show(frame, answer, number, performance.now() - start);
      } catch (error) {
        if (signal.aborted) return;
        this.stop();
        this.failed(error);
        return;
      }
      await new Promise(requestAnimationFrame);
    }
  }

  frame() {
    const { videoWidth: width, videoHeight: height } = this.video;
    const scale = Math.min(1, LARGEST / Math.max(width, height));
    const frame = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
    frame.getContext("2d").drawImage(this.video, 0, 0, frame.width, frame.height);
    return frame;
  }

  show(frame, answer, number, milliseconds) {
    this.shown = number;
    if (this.canvas.width !== frame.width || this.canvas.height !== frame.height) {
      Object.assign(this.canvas, { width: frame.width, height: frame.height });
    }
    this.canvas.getContext("2d").drawImage(frame, 0, 0);
    drawFaces(this.svg, answer, this.markup(answer.markup));
    const now = performance.now();
    this.times = [...this.times.filter((time) => now - time < WINDOW), now];
    const span = (now - this.times[0]) / 1000;
    const rate = span > 0 ? (this.times.length - 1) / span : 0;
    this.speed({ rate, milliseconds, faces: answer.faces });
  }
}
