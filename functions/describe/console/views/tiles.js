/** Records as a grid of thumbnails, or as a table. */

import { Ago, moment, percent } from "../format.js";
import { html, useMemo } from "../html.js";
import { href } from "../route.js";
import { Preview } from "./preview.js";

const PIECE = 50; // Records that are rendered together.

const UNFINISHED = { queued: "Queued", processing: "Being predicted" };

/** What a record says, in a few words. */
function answerOf(record) {
  if (UNFINISHED[record.status]) return UNFINISHED[record.status];
  if (record.status === "failed") return `Failed: ${record.error ?? "nobody knows why"}`;
  return record.said || record.error || "Stored";
}

/** Whether a prediction was right, in words; nothing without a ground truth. */
function verdictOf(record) {
  if (record.ground_truth === undefined) return "";
  if (record.correct === true) return "right";
  return record.correct === false ? `wrong, is ${record.truth}` : `truth ${record.truth}`;
}

const classOf = (record) => record.correct === true ? "right" : record.correct === false ? "wrong" : "";

const versionOf = ({ model }) => model ? `${model.name} ${model.version}` : "";

/**
 * Records in pieces. A piece is rendered again only if one of its records, or their selection, has changed. A record
 * stays in its piece when others are put before it or let go.
 *
 * @param {{records, first, selected, pick, query, served, as: "grid"|"table"}} props `first`: the number of the first
 *   record. `pick(record, event)`: a box was clicked.
 */
export function Tiles({ records, first, selected, pick, query, served, as, onKeyDown }) {
  const shared = { pick, query, served, as };
  const content = [];
  for (let number = Math.floor(first / PIECE); number * PIECE < first + records.length; number += 1) {
    const from = number * PIECE - first;
    const piece = records.slice(Math.max(0, from), from + PIECE);
    content.push(html`<${Piece} key=${number} piece=${piece} selected=${selected} shared=${shared} />`);
  }
  if (as === "grid") {
    return html`<ul class="grid" role="list" aria-label="Records" onKeyDown=${onKeyDown}>${content}</ul>`;
  }
  const none = ["confidence", "inference_id"].filter((name) => records.every((record) => record[name] === undefined));
  return html`
    <div class="scroll">
      <table class="records ${none.map((name) => `no-${name}`).join(" ")}" aria-label="Records" onKeyDown=${onKeyDown}>
        <thead>
          <tr>
            <th scope="col"><span class="unseen">Select</span></th>
            <th scope="col">Time</th><th scope="col">Input</th><th scope="col">Prediction</th>
            <th scope="col" class="number">Confidence</th><th scope="col">Truth</th><th scope="col">Model</th>
            <th scope="col">User</th><th scope="col">inference_id</th>
          </tr>
        </thead>
        <tbody>${content}</tbody>
      </table>
    </div>`;
}

function Piece({ piece, selected, shared }) {
  const { pick, query, served, as } = shared;
  const chosen = piece.map((record) => selected.has(record.prediction_id));
  const Item = as === "grid" ? Tile : Row;
  return useMemo(() => piece.map((record, index) => html`
    <${Item} key=${record.prediction_id} record=${record} chosen=${chosen[index]} ...${{ pick, query, served }} />`),
  [...padded(piece, null), ...padded(chosen, false), query, served, as]);
}

/** Hooks compare lists of equal length only. */
const padded = (list, nothing) => [...list, ...Array(PIECE - list.length).fill(nothing)];

function Box({ record, chosen, pick }) {
  return html`
    <label class="pick">
      <input type="checkbox" checked=${chosen} onClick=${(event) => pick(record, event)}
        aria-label="Select ${answerOf(record)}, ${moment(record.created_at)}" />
    </label>`;
}

function Tile({ record, chosen, pick, query, served }) {
  const verdict = verdictOf(record);
  const isOther = served && record.model && versionOf(record) !== `${served.name} ${served.version}`;
  return html`
    <li class="tile ${chosen ? "chosen" : ""}" data-id=${record.prediction_id}>
      <${Box} ...${{ record, chosen, pick }} />
      <a href=${href("record", [record.prediction_id], query)}>
        <${Preview} record=${record} />
        <span class="answer">
          <b>${answerOf(record)}</b>
          ${record.confidence !== undefined && html`${" "}<span class="muted">${percent(record.confidence)}</span>`}
        </span>
        ${verdict && html`<span class="verdict ${classOf(record)}">${verdict}</span>`}
        ${isOther && html`<span class="muted">${versionOf(record)}</span>`}
        <time class="muted" datetime=${record.created_at} title=${moment(record.created_at)}>
          <${Ago} time=${record.created_at} /></time>
      </a>
    </li>`;
}

function Row({ record, chosen, pick, query }) {
  return html`
    <tr class=${chosen ? "chosen" : ""} data-id=${record.prediction_id}>
      <td><${Box} ...${{ record, chosen, pick }} /></td>
      <td class="when"><a href=${href("record", [record.prediction_id], query)}>
        <time datetime=${record.created_at}>${moment(record.created_at)}</time></a></td>
      <td><${Preview} record=${record} /></td>
      <td class="answer">${answerOf(record)}</td>
      <td class="number">${record.confidence === undefined ? "" : percent(record.confidence)}</td>
      <td class=${classOf(record)}>${verdictOf(record)}</td>
      <td>${versionOf(record)}</td>
      <td>${record.user_id}</td>
      <td>${record.inference_id ?? ""}</td>
    </tr>`;
}
