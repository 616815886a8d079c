/** A field to draw in. It turns the drawing into a picture like MNIST's digits. */

import { html, useEffect, useRef } from "./html.js";

const SIDE = 280; // MNIST's frame of 28 × 28 pixels, tenfold.
const PEN = 24; // As wide as MNIST's strokes are.
const BOX = 200; // How much of the frame MNIST's digits fill.

/** Paint strokes, each a list of [x, y]. */
function paint(canvas, strokes, scale, x, y) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const zoom = canvas.width / SIDE;
  context.setTransform(zoom, 0, 0, zoom, 0, 0);
  context.fillStyle = "#000";
  context.fillRect(0, 0, SIDE, SIDE);
  context.strokeStyle = "#fff";
  context.lineWidth = PEN;
  context.lineCap = context.lineJoin = "round";
  for (const stroke of strokes) {
    context.beginPath();
    context.moveTo(stroke[0][0] * scale + x, stroke[0][1] * scale + y + 0.01); // A dot without length is not drawn.
    for (const point of stroke) context.lineTo(point[0] * scale + x, point[1] * scale + y);
    context.stroke();
  }
}

/**
 * Return a drawing like MNIST's digits: fitted to the box, with even strokes, the centre of mass in the middle.
 *
 * @param {number[][][]} strokes At least one.
 * @returns {Promise<Blob>} A PNG.
 */
export function pictureOf(strokes) {
  const canvas = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE });
  const [xs, ys] = [0, 1].map((axis) => strokes.flat().map((point) => point[axis]));
  const [left, right, top, bottom] = [least(xs), most(xs), least(ys), most(ys)];
  const scale = Math.min((BOX - PEN) / Math.max(right - left, bottom - top), 10);
  const x = (SIDE - (left + right) * scale) / 2;
  const y = (SIDE - (top + bottom) * scale) / 2;
  paint(canvas, strokes, scale, x, y);
  const [across, down] = centreOfMass(canvas);
  const margin = (SIDE - BOX) / 2;
  const shift = (centre) => Math.max(-margin, Math.min(margin, (SIDE - 1) / 2 - centre));
  paint(canvas, strokes, scale, x + shift(across), y + shift(down));
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

// No spread: a drawing may have more points than a call has arguments.
const least = (numbers) => numbers.reduce((a, b) => Math.min(a, b), Infinity);
const most = (numbers) => numbers.reduce((a, b) => Math.max(a, b), -Infinity);

function centreOfMass(canvas) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, SIDE, SIDE);
  let mass = 0, across = 0, down = 0;
  for (let pixel = 0; pixel < SIDE * SIDE; pixel++) {
    const ink = data[4 * pixel];
    mass += ink;
    across += ink * (pixel % SIDE);
    down += ink * Math.floor(pixel / SIDE);
  }
  return [across / mass, down / mass];
}

/**
 * A field to draw in by mouse, finger or pen.
 *
 * @param {{strokes: number[][][], changed: function(number[][][]): void}} props `changed` gets the strokes, one more.
 */
export function Drawing({ strokes, changed }) {
  const canvas = useRef(null);
  const present = useRef(null); // The stroke that is being drawn.
  useEffect(() => paint(canvas.current, strokes, 1, 0, 0), [strokes]);
  const inside = (position) => SIDE * Math.max(0, Math.min(1, position));
  const extend = (event) => {
    const frame = canvas.current.getBoundingClientRect();
    for (const { clientX, clientY } of [...event.getCoalescedEvents?.() ?? [], event]) {
      present.current.push(
        [inside((clientX - frame.left) / frame.width), inside((clientY - frame.top) / frame.height)]);
    }
    paint(canvas.current, [...strokes, present.current], 1, 0, 0);
  };
  const start = (event) => {
    if (!event.isPrimary || event.button !== 0) return;
    canvas.current.setPointerCapture(event.pointerId);
    present.current = [];
    extend(event);
  };
  const end = (event) => {
    if (!event.isPrimary || !present.current) return;
    const stroke = present.current;
    present.current = null;
    changed([...strokes, stroke]);
  };
  return html`
    <canvas ref=${canvas} class="frame drawing" width="560" height="560" role="img"
      aria-label="Drawing area for mouse, finger or pen. With a keyboard, choose or paste an image."
      onPointerDown=${start} onPointerMove=${(event) => { if (present.current && event.isPrimary) extend(event); }}
      onPointerUp=${end} onPointerCancel=${end}></canvas>`;
}
