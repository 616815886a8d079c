// Predict, list and get by the types that openapi-typescript makes from the document, and print what came back.
import { readFile } from "node:fs/promises";
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

const [address = "", image = ""] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: address });
const file = new Blob([await readFile(image)], { type: "image/png" });

const sent = new FormData();
sent.append("file", file, "seven.png");
sent.append("user_id", "anna");
sent.append("metadata", JSON.stringify({ form: 3 }));
const predicted = await client.POST("/prediction", {
  params: { header: { "Idempotency-Key": "once" } },
  // openapi-typescript writes a binary string as a string: its documentation has this cast, and a serializer like this.
  body: { file: file as unknown as string, user_id: "anna", metadata: { form: 3 } },
  bodySerializer: () => sent,
});
if (predicted.error !== undefined) throw new Error(predicted.error.detail);
if (!("likely_class" in predicted.data)) throw new Error("it was queued");

const listed = await client.GET("/predictions", { params: { query: { user_id: "anna", limit: 5 } } });
if (listed.error !== undefined) throw new Error(listed.error.detail);

const path = { prediction_id: predicted.data.prediction_id };
const got = await client.GET("/prediction/{prediction_id}", { params: { path } });
if (got.error !== undefined) throw new Error(got.error.detail);

const refused = await client.GET("/predictions", { params: { query: { since: "yesterday" } } });

console.log(
  JSON.stringify({
    predicted: predicted.data.label,
    listed: listed.data.predictions.map((record) => record.prediction_id === predicted.data.prediction_id),
    got: [got.data.filename, got.data.metadata, got.data.image?.slice(0, 22)],
    refused: refused.error?.detail,
  }),
);
