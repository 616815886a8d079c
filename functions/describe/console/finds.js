/** The finds of a detection: a table, and boxes over the picture. A find chosen in one is chosen in the other. */

import { boxesOf, findsOf } from "./boxes.js";
import { count, number, percent, shown } from "./format.js";
import { html, useEffect, useState } from "./html.js";

const MOST_FINDS = 300;
const MOST_NAMED = 30; // The most boxes that show their labels: more would cover the picture.
const MOST_CHARACTERS = 40; // Of a label in the picture. The table has the whole label.
const LINES = 32; // The lines of text that a picture has room for.

let chosen = { id: null, index: null };
const listeners = new Set();

/** The index of the chosen find of a record, or null; and a function that chooses one, or gives up the chosen one. */
function useChosen(id) {
  const [, changed] = useState({});
  useEffect(() => {
    listeners.add(changed);
    return () => listeners.delete(changed);
  }, []);
  const index = chosen.id === id ? chosen.index : null;
  const choose = (one) => {
    chosen = { id, index: one === index ? null : one };
    for (const listener of [...listeners]) listener({});
  };
  return [index, choose];
}

const scoreText = (score) => (score >= 0 && score <= 1 ? percent(score) : number(score));

/**
 * The finds as a table.
 *
 * @param {{record: object, drawn: boolean}} props `drawn`: whether their boxes can be shown in the picture.
 */
export function Finds({ record, drawn }) {
  const finds = findsOf(record);
  const [index, choose] = useChosen(record.prediction_id);
  return html`
    <div class="scroll finds" tabindex="0" role="group" aria-label="The finds">
      <table>
        <thead><tr>
          <th scope="col">Found</th><th scope="col" class="number">Score</th><th scope="col">Box</th>
        </tr></thead>
        <tbody>
          ${finds.slice(0, MOST_FINDS).map(({ label, score, box }, at) => html`
            <tr key=${at} class=${at === index ? "chosen" : ""}>
              <th scope="row">${drawn
                ? html`<button type="button" class="plain" aria-pressed=${at === index ? "true" : "false"}
                    onClick=${() => choose(at)}>${shown(label)}</button>`
                : shown(label)}</th>
              <td class="number">${scoreText(score)}</td>
              <td>${shown(box)}</td>
            </tr>`)}
        </tbody>
      </table>
    </div>
    <p class="muted">A box is in the model's own coordinates.${finds.length > MOST_FINDS && html`
      ${" "}The first ${MOST_FINDS} of ${count(finds.length)} finds.`}</p>`;
}

/**
 * A picture with the boxes of its finds over it. The table says the same to those who cannot see them.
 *
 * @param {{record: object, model: object|null, size: object|null, children: object}} props `model`: the one that found
 *   them, or null if it is not known; `size`: of the picture, once it is loaded; `children`: the picture.
 */
export function Boxed({ record, model, size, children }) {
  const finds = findsOf(record) ?? [];
  if (!finds.length || !model) return children;
  return html`
    <div class="boxed">
      ${children}
      ${size && html`<${Boxes} record=${record} model=${model} size=${size} />`}
    </div>`;
}

function Boxes({ record, model, size }) {
  const finds = findsOf(record).slice(0, MOST_FINDS);
  const [index, choose] = useChosen(record.prediction_id);
  const boxes = boxesOf(finds, model, size);
  const drawn = finds.map((_, at) => at).filter((at) => typeof boxes[at] !== "string");
  const named = new Set([...drawn].sort((a, b) => finds[b].score - finds[a].score).slice(0, MOST_NAMED));
  const area = ({ width, height }) => width * height;
  const order = drawn
    .sort((a, b) => (a === index) - (b === index) || area(boxes[b]) - area(boxes[a])); // Small ones are on top.
  return html`
    <svg viewBox="0 0 ${size.width} ${size.height}" preserveAspectRatio="xMidYMid meet" aria-hidden="true"
      class=${index === null ? "" : "has-chosen"} font-size=${Math.max(size.width, size.height) / LINES}>
      ${order.map((at) => html`
        <${Box} key=${at} find=${finds[at]} box=${boxes[at]} size=${size} chosen=${at === index}
          named=${at === index || (index === null && named.has(at))} choose=${() => choose(at)} />`)}
    </svg>`;
}

function Box({ find, box, size, chosen: isChosen, named, choose }) {
  const { left, top, width, height } = box;
  const place = { x: left, y: top, width, height };
  const line = Math.max(size.width, size.height) / LINES;
  const isRight = left + width / 2 > size.width / 2; // Text to the left of there has more room.
  return html`
    <g class=${isChosen ? "find chosen" : "find"} onClick=${choose}>
      <rect class="around" ...${place} />
      <rect class="box" ...${place} />
      ${named && html`
        <text x=${isRight ? left + width : left} y=${top > 1.3 * line ? top - 0.3 * line : top + 1.1 * line}
          text-anchor=${isRight ? "end" : "start"}>
          <tspan>${clipped(shown(find.label))}</tspan>${" "}${scoreText(find.score)}
        </text>`}
    </g>`;
}

const clipped = (text) => (text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)}…` : text);

/** What the boxes over a picture do not show, in words. Parameters as in `Boxed`. */
export function BoxesNote({ record, model, size }) {
  const finds = (findsOf(record) ?? []).slice(0, MOST_FINDS);
  const [index] = useChosen(record.prediction_id);
  if (!finds.length) return null;
  if (!model) {
    return html`<p class="muted">The boxes are not drawn: how a picture is seen is known of the served model only.</p>`;
  }
  if (!size) return null;
  const boxes = boxesOf(finds, model, size);
  const missing = boxes.filter((box) => typeof box === "string").length;
  const why = index === null ? null : boxes[index];
  return html`
    ${missing > 0 && html`
      <p class="muted">${missing === 1 ? "1 box is" : `${count(missing)} boxes are`} not drawn.</p>`}
    <p class="muted" role="status">${typeof why === "string" && `The box that is chosen ${why}.`}</p>`;
}
