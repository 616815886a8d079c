/** All records that match a filter: to look through, to select, to label and to delete. */

import { Export } from "../export.js";
import { count } from "../format.js";
import { html, useCallback, useEffect, useMemo, useRef, useState } from "../html.js";
import { KeysButton, useKeys } from "../keys.js";
import { href, setQuery } from "../route.js";
import { useServed } from "../served.js";
import { Empty, Failed, Loading } from "../states.js";
import { Chosen, COUNTED, Filters, useCounts } from "./filters.js";
import { useRecords } from "./listing.js";
import { Many } from "./many.js";
import { Tiles } from "./tiles.js";

const OWN = ["show", "limit", "cursor"]; // Members of the URL that the list sets itself, or that only the page knows.
const UNFILTERED = [...OWN, "order"];
const WIDE = "(min-width: 60rem)"; // As in the stylesheet: there is room for the filters beside the list.

/** A query without some of its members. */
function without(query, names) {
  return new URLSearchParams([...query].filter(([name, value]) => value !== "" && !names.includes(name)));
}

/** The records of a filter: a grid of pictures or a table, newest first or least sure first. */
export default function Records({ query }) {
  const search = without(query, OWN).toString();
  const [open, setOpen] = useState(() => matchMedia(WIDE).matches);
  const served = useServed().value;
  const list = useRef(null);
  const places = useMemo(() => placesIn(list), []);
  const records = useRecords(search, places);
  const ready = useRef(false); // The counts are loaded after the first records, because they may take longer.
  ready.current ||= records.loaded || records.problem !== null;
  const counts = useCounts(query, open && ready.current);
  const [selected, select] = useState(new Map());
  useEffect(() => select((before) => before.size ? new Map() : before), [search]);
  const as = query.get("show") ?? (records.records.some(isPicture) ? "grid" : "table");
  const recordQuery = useMemo(() => new URLSearchParams(search), [search]);
  const { pick, reach } = useSelection(records.records, selected, select);
  const listed = useMemo(() => new Set(records.records.map((one) => one.prediction_id)), [records.records]);

  return html`
    <h1>Records</h1>
    <div class="records-view">
      <details class="filters-panel" open=${open} onToggle=${(event) => setOpen(event.target.open)}>
        <summary>Filters</summary>
        ${open && html`<${Filters} query=${query} counts=${counts} ready=${ready.current} />`}
      </details>
      <div class="records-list">
        <${Bar} query=${query} as=${as} search=${search} total=${totalOf(query, counts.value)} />
        <${Chosen} query=${query} except=${UNFILTERED} />
        <${News} records=${records} list=${list} />
        <${Many} selected=${selected} select=${select} change=${records.change} listed=${listed} />
        <div ref=${list} class=${records.stale ? "listing stale" : "listing"}
          aria-busy=${records.loading ? "true" : "false"}>
          ${records.letGo && html`
            <p class="muted">Earlier records are not kept here while you scroll on.${" "}
              <button type="button" onClick=${records.restart}>Back to the first</button></p>`}
          ${records.records.length > 0 && html`
            <${Tiles} records=${records.records} first=${records.first} query=${recordQuery}
              ...${{ selected, pick, served, as }}
              onKeyDown=${(event) => reach(event, places.columns())} />`}
          <${End} records=${records} query=${query} />
        </div>
      </div>
    </div>
    <${ListKeys} list=${list} records=${records} reach=${reach} selected=${selected} select=${select} />`;
}

const isPicture = (record) => Boolean(record.contenttype?.startsWith("image/"));

/** Where things are in the list, so that what the user looks at does not move. */
function placesIn(list) {
  const items = () => [...list.current?.querySelectorAll("[data-id]") ?? []];
  return {
    anchor: () => items().at(-1),
    columns: () => {
      const grid = list.current?.querySelector(".grid");
      return grid ? getComputedStyle(grid).gridTemplateColumns.split(" ").length : 1;
    },
    firstSeen: () => items().find((item) => item.getBoundingClientRect().bottom > 0)?.dataset.id,
  };
}

/** How many records a query matches, if the statistics have the same filters; else null. */
function totalOf(query, statistics) {
  const filters = [...without(query, UNFILTERED).keys()];
  const isCounted = query.get("since") && filters.every((name) => COUNTED.includes(name));
  return isCounted && query.get("order") !== "confidence" ? statistics?.total.count ?? null : null;
}

function Bar({ query, as, search, total }) {
  const order = query.get("order") ?? "newest";
  const filters = without(query, UNFILTERED);
  return html`
    <div class="bar-of-list">
      <div class="choices" role="group" aria-label="Order">
        <${Switch} name="order" value=${null} set=${order === "newest"}>Newest first<//>
        <${Switch} name="order" value="confidence" set=${order === "confidence"}>Least sure first<//>
      </div>
      <div class="choices" role="group" aria-label="Show as">
        <${Switch} name="show" value="grid" set=${as === "grid"} replace>Grid<//>
        <${Switch} name="show" value="table" set=${as === "table"} replace>Table<//>
      </div>
      <a class="review-link" href=${href("review", [], filters)}>Review them</a>
      <${Export} path="/predictions" query=${Object.fromEntries(new URLSearchParams(search))} count=${total} />
      <${KeysButton} />
    </div>`;
}

function Switch({ name, value, set, replace = false, children }) {
  return html`
    <button type="button" aria-pressed=${set ? "true" : "false"}
      onClick=${() => setQuery({ [name]: value }, { replace })}>${children}</button>`;
}

/** How many new records there are. They are shown when the user asks for them, so that nothing moves before. */
function News({ records, list }) {
  const number = records.fresh.length;
  const isOne = number === 1 && !records.more;
  const show = async () => {
    await records.show();
    scrollTo(0, 0);
    requestAnimationFrame(() => list.current?.querySelector("[data-id] a")?.focus({ preventScroll: true }));
  };
  return html`
    <div class="news" role="status">
      ${number > 0 && html`
        <button type="button" onClick=${show}>
          ${records.more ? "More than " : ""}${count(number)} new ${isOne ? "record" : "records"}: show
        </button>`}
    </div>`;
}

/** The end of the loaded records: more are loaded once it is in sight, or by its button. */
function End({ records, query }) {
  const { loading, problem, cursor, loaded } = records;
  const end = useRef(null);
  const wanted = loaded && cursor !== null && !loading && !problem && !records.stale;
  useEffect(() => {
    if (!wanted) return undefined;
    const observer = new IntersectionObserver(([{ isIntersecting }]) => { if (isIntersecting) records.next(); },
      { rootMargin: "800px" });
    observer.observe(end.current);
    return () => observer.disconnect();
  }, [wanted, cursor]);
  const number = records.records.length;
  return html`
    <div class="end" ref=${end}>
      ${problem && html`<${Failed} problem=${problem} again=${records.again} />`}
      ${loading && html`<${Loading} what="records" />`}
      ${wanted && html`<button type="button" onClick=${records.next}>Show more</button>`}
      ${loaded && !loading && !problem && cursor === null && (number
        ? html`<p class="muted">${records.letGo ? "No more records." : `${recordsOf(number)}: that is all.`}</p>`
        : html`<${Nothing} query=${query} />`)}
    </div>`;
}

const recordsOf = (number) => `${count(number)} ${number === 1 ? "record" : "records"}`;

function Nothing({ query }) {
  const filtered = without(query, UNFILTERED).toString() !== "";
  if (query.get("order") === "confidence") {
    return html`
      <${Empty}>No record${filtered ? " with these filters" : ""} has a confidence. Only those of classifications have
        one: look at the newest first.<//>`;
  }
  if (filtered) return html`<${Empty}>No record has all of these filters. Remove one, and there may be some.<//>`;
  return html`
    <${Empty}>The ledger is empty. <a href="/console/predict">Predict something</a>: every answer is kept.<//>`;
}

/** The selected records: by their boxes, with Shift a range up to the last box, or by keys. */
function useSelection(records, selected, select) {
  const pivot = useRef(null);
  const latest = useRef(null);
  latest.current = { records, selected };

  const set = useCallback((some, wanted) => {
    const after = new Map(latest.current.selected);
    for (const record of some) {
      if (wanted) after.set(record.prediction_id, record);
      else after.delete(record.prediction_id);
    }
    latest.current.selected = after; // A second key may come before the next rendering.
    select(after);
  }, []);

  const upTo = (record, wanted) => {
    const all = latest.current.records;
    const at = all.indexOf(record);
    const from = all.findIndex((one) => one.prediction_id === pivot.current);
    set(from < 0 ? [record] : all.slice(Math.min(at, from), Math.max(at, from) + 1), wanted);
  };

  const pick = useCallback((record, event) => {
    const wanted = event.target.checked;
    if (event.shiftKey) upTo(record, wanted);
    else set([record], wanted);
    pivot.current = record.prediction_id;
  }, []);

  const toggle = (record) => {
    set([record], !latest.current.selected.has(record.prediction_id));
    pivot.current = record.prediction_id;
  };

  /** Arrows move from record to record and, with Shift, select on the way. Space selects. */
  const reach = (event, columns) => {
    const item = event.target.closest("[data-id]");
    if (!item || event.ctrlKey || event.altKey || event.metaKey) return;
    const all = latest.current.records;
    const index = all.findIndex((record) => record.prediction_id === item.dataset.id);
    if (event.key === " " && event.target.matches("a")) {
      event.preventDefault();
      toggle(all[index]);
      return;
    }
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    const record = step && all[index + step];
    if (!record) return;
    event.preventDefault();
    focusOn(item.parentElement, record);
    if (!event.shiftKey) return;
    if (pivot.current === null) pivot.current = item.dataset.id;
    upTo(record, true);
  };
  reach.toggle = toggle;
  return { pick, reach };
}

function focusOn(list, record) {
  const link = list?.querySelector(`[data-id="${CSS.escape(record.prediction_id)}"] a`);
  link?.focus();
  link?.scrollIntoView({ block: "nearest" });
}

function ListKeys({ list, records, reach, selected, select }) {
  const current = () => {
    const id = document.activeElement?.closest?.("[data-id]")?.dataset.id;
    return records.records.findIndex((record) => record.prediction_id === id);
  };
  const step = (by) => {
    const at = current();
    const record = records.records[at < 0 ? 0 : at + by];
    if (record) focusOn(list.current, record);
  };
  const toggle = () => { if (current() >= 0) reach.toggle(records.records[current()]); };
  const go = () => document.querySelector(".many")?.focus();
  const all = () => select(new Map(records.records.map((record) => [record.prediction_id, record])));
  useKeys({
    j: ["next record", () => step(1)],
    k: ["previous record", () => step(-1)],
    x: ["select the record, or not (also Space)", toggle],
    a: ["select all that are loaded", all],
    n: records.fresh.length ? ["show the new records", () => document.querySelector(".news button")?.click()] : null,
    l: selected.size ? ["go to what can be done with those selected", go] : null,
    Escape: selected.size ? ["select none", () => select(new Map())] : null,
  });
  return null;
}
