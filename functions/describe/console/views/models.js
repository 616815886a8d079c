/** The models and versions that were served, and the figures of one. */

import { get } from "../api.js";
import { Intervals } from "../charts.js";
import { Ago, count, percent } from "../format.js";
import { html } from "../html.js";
import { useLoad } from "../load.js";
import { href } from "../route.js";
import { Empty, Notice } from "../states.js";
import { Section, Sheet, ShowAll, between, rated } from "./model_parts.js";
import { SpanChoice, spanOf } from "./model_span.js";
import { Latency, Refused, Usage } from "./model_usage.js";
import { Version } from "./model_version.js";

const MOST_ROWS = 100;
const MOST_INTERVALS = 20;

/** `/console/models`, `/console/models/{name}` and `/console/models/{name}/{version}`. */
export default function View({ query, parts }) {
  const [name, version] = parts;
  if (version === undefined) return html`<${Overview} key=${name} name=${name ?? null} query=${query} />`;
  return html`<${Version} key=${JSON.stringify([name, version])} model=${name} version=${version} query=${query} />`;
}

/** Every version, or those of one model, and how they are used. */
function Overview({ name, query }) {
  const span = spanOf(query);
  const models = useLoad((signal) => get("/models", {}, { signal }));
  const usage = useLoad((signal) => get("/statistics", { model: name, ...span }, { signal }), [JSON.stringify(span)]);
  const shown = models.value?.models.filter((one) => name === null || one.name === name) ?? [];
  const first = shown.map((one) => one.first_prediction_at).filter(Boolean).sort()[0];
  const again = () => [models, usage].forEach((load) => load.again());
  return html`
    ${name !== null && html`<p><a href="/console/models">All models</a></p>`}
    <h1>${name === null ? "Models" : `Versions of ${name}`}</h1>
    ${models.value?.of === "yours" && html`<${Notice}>You see the figures of your own records.<//>`}
    <${Section} name="Versions" load=${models} show=${(value) => shown.length === 0
      ? html`<${NoVersion} name=${name} />`
      : html`<${Versions} models=${shown} others=${value.others} query=${query} />`} />
    <${SpanChoice} query=${query} first=${first} again=${again} />
    <div class="figure-sections">
      <${Section} name="Usage" wide=${true} load=${usage} show=${(value) => html`<${Usage} own=${value} />`} />
      <${Section} name="Latency" load=${usage} show=${(value) => html`<${Latency} statistics=${value} />`} />
      ${name === null && usage.value?.refused && html`<${Section} name="Refused requests" load=${usage}
        show=${(value) => html`<${Refused} refused=${value.refused} />`} />`}
    </div>`;
}

function NoVersion({ name }) {
  return name === null
    ? html`<${Empty}>No model was served yet: a model is known once it has made a prediction.
        ${" "}<a href="/console/predict">Predict something</a>.<//>`
    : html`<${Empty}>No version of ${name} was served. <a href="/console/models">See all models</a>.<//>`;
}

function Versions({ models, others, query }) {
  const judged = models.filter(({ accuracy }) => accuracy !== null).slice(0, MOST_INTERVALS);
  const last = ({ last_prediction_at: at }) => at === null ? "never" : html`<time datetime=${at}><${Ago} time=${at} /></time>`;
  const heads = ["Model", "Task", "Predictions", "Last one", "With a truth", "Accuracy"];
  return html`
    <${Sheet} label="Models and versions" heads=${heads} text=${2}
      rows=${(query.get("versions") === "all" ? models : models.slice(0, MOST_ROWS)).map((one) => [
        html`<a href=${href("models", [one.name, one.version])}>${one.name} ${one.version}</a>`,
        one.task, count(one.count), last(one), count(one.judged),
        html`${percent(one.accuracy)}<br /><small class="muted">${between(one.accuracy_interval)}</small>`,
      ])} />
    <${ShowAll} name="versions" query=${query} most=${MOST_ROWS} of=${models.length} what="versions" />
    ${others > 0 && html`<p class="muted">${count(others)} more are not listed: those that were served last are.</p>`}
    ${judged.length > 0 && html`<${Intervals} label="Accuracy of all time, with its 95 % interval"
      items=${judged.map((one) => rated(one, {
        name: `${one.name} ${one.version}`, href: href("models", [one.name, one.version]),
      }))} />`}`;
}
