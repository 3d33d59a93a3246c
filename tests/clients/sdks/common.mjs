// What the scripts of all SDKs share: where the gateway is, the tool, the report.
import { writeFileSync } from "node:fs";

export const baseUrl = process.env.KUROL_BASE_URL;
export const apiKey = process.env.KUROL_API_KEY;
export const model = process.env.KUROL_MODEL;
export const question = "What is the answer?";
export const task = process.env.KUROL_TASK;
export const missingModel = "no-such-model";

export const tool = {
  name: "write_file",
  description: "Write a text file.",
  parameters: {
    type: "object",
    properties: { path: { type: "string" }, content: { type: "string" } },
    required: ["path", "content"],
    additionalProperties: false,
  },
};

export function writeFile({ path, content }) {
  writeFileSync(path, content);
  return "written";
}

// Runs every scenario in turn and prints one JSON object of what came out.
export async function report(scenarios) {
  const results = {};
  for (const [name, scenario] of Object.entries(scenarios)) {
    results[name] = await scenario();
  }
  process.stdout.write(JSON.stringify(results));
}

// What an SDK makes of an error: its status, as the SDK tells it.
export async function statusOf(call) {
  try {
    await call();
  } catch (error) {
    return error.status ?? error.statusCode ?? String(error);
  }
  return "no error";
}
