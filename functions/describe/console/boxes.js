/** Where the boxes of a detection are in the picture that was sent: the model saw it resized, cropped or padded. */

const MOST_SHARE = 2; // Boxes without larger numbers are shares of the model's picture: as pixels they would be dots.
const DOWN_FIRST = "detection_boxes"; // TensorFlow's output, whose boxes are top, left, bottom, right.

const isFind = (one) => one !== null && typeof one === "object" && Array.isArray(one.box) && "score" in one;

/** The finds of a detection, or null if the record is not one. */
export function findsOf({ prediction, predicted_value: value }) {
  if (!Array.isArray(prediction) || !prediction.every(isFind)) return null;
  return prediction.length || (Array.isArray(value) && !value.length) ? prediction : null;
}

/**
 * The boxes of finds in a picture's own pixels, cut at its edges. Each is `{left, top, width, height}`, or a text that
 * says why it is not drawn.
 *
 * @param {object[]} finds
 * @param {object} model What `GET /model` says of the model that found them.
 * @param {{width: number, height: number}} picture Its size, upright.
 */
export function boxesOf(finds, model, picture) {
  const { across, down, seen } = fitOf(model, picture);
  const inShares = finds.every(({ box }) => box.every((one) => Math.abs(one) <= MOST_SHARE));
  const isDownFirst = (model.settings.finds ?? []).some((name) => name.toLowerCase() === DOWN_FIRST);
  return finds.map(({ box }) => {
    const corners = isDownFirst ? [box[1], box[0], box[3], box[2]] : box;
    const [x1, y1, x2, y2] = inShares ? corners.map((one, at) => one * (at % 2 ? seen.height : seen.width)) : corners;
    if (!(x2 > x1 && y2 > y1)) return "has no area";
    const inside = ([offset, factor], most) => (one) => Math.min(most, Math.max(0, (one - offset) * factor));
    const [left, right] = [x1, x2].map(inside(across, picture.width));
    const [top, bottom] = [y1, y2].map(inside(down, picture.height));
    if (!(right > left && bottom > top)) return "is outside of the picture";
    return { left, top, width: right - left, height: bottom - top };
  });
}

/**
 * How a model sees a picture, which functions/shared/inference/image_fit.py fits to it. `seen` is the fitted size. A
 * coordinate `m` there is `(m - offset) * factor` in the picture, where `across` and `down` are `[offset, factor]`.
 */
function fitOf(model, { width, height }) {
  const { fit, settings, size: edges, stride } = model;
  const resized = (to, offsets, seen) => ({
    across: [offsets[0], width / to[0]], down: [offsets[1], height / to[1]], seen: { width: seen[0], height: seen[1] },
  });
  if (edges) {
    const to = scaled(width, height, edges);
    return resized(to, [0, 0], to);
  }
  if (model.width === null) return resized([width, height], [0, 0], [width, height]);
  const whole = [model.width, model.height];
  if (fit === "letterbox") {
    const scale = Math.min(whole[0] / width, whole[1] / height);
    const to = [width, height].map((side) => Math.max(1, halfToEven(side * scale)));
    const beside = whole.map((side, at) => (stride ? (side - to[at]) % stride : side - to[at]));
    return resized(to, beside.map((one) => Math.round(one / 2 - 0.1)), to.map((side, at) => side + beside[at]));
  }
  if (!settings.crop_size) return resized(whole, [0, 0], whole);
  const to = typeof settings.size === "number"
    ? withShorterEdge(width, height, settings.size) : [settings.size[1], settings.size[0]];
  const cut = settings.crop_rounding === "torchvision" ? cutAsTorchvision : (excess) => Math.floor(excess / 2);
  return resized(to, to.map((side, at) => -cut(side - whole[at])), whole);
}

const withShorterEdge = (width, height, edge) => (width <= height
  ? [edge, Math.floor(edge * height / width)] : [Math.floor(edge * width / height), edge]);

const cutAsTorchvision = (excess) => (excess > 0 ? halfToEven(excess / 2) : -Math.floor(-excess / 2));

/** Round as Python does. */
function halfToEven(value) {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + (below % 2) : Math.round(value);
}

function scaled(width, height, { shortest_edge: shortest, longest_edge: longest }) {
  const [shorter, longer] = [Math.min(width, height), Math.max(width, height)];
  if (shortest === undefined) {
    return [width, height].map((side) => Math.max(1, Math.floor(side * (longest / longer) + 0.5)));
  }
  let [edge, exact] = [shortest, shortest];
  if (longer / shorter * edge > longest) {
    exact = longest * shorter / longer;
    edge = halfToEven(exact);
  }
  if (shorter === edge) return [width, height];
  edge = Math.max(1, edge);
  return width < height ? [edge, Math.max(1, Math.floor(exact * height / width))]
    : [Math.max(1, Math.floor(exact * width / height)), edge];
}
