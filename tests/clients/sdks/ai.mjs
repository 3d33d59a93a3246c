// The Vercel AI SDK with one of its providers, which the first argument names.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogle } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, isStepCount, jsonSchema, streamText } from "ai";
import * as kurol from "./common.mjs";

const { apiKey } = kurol;
const openAiUrl = `${kurol.baseUrl}/v1`;
const thinking = { type: "adaptive", display: "summarized" };
const setups = {
  "openai-compatible": () => ({
    provider: createOpenAICompatible({ name: "kurol", baseURL: openAiUrl, apiKey }),
    options: { kurol: { reasoningEffort: "high" } },
  }),
  // store: false, or the next turn only points at items that it believes to be kept.
  openai: () => ({
    provider: createOpenAI({ baseURL: openAiUrl, apiKey }),
    options: {
      openai: {
        store: false,
        forceReasoning: true,
        reasoningEffort: "high",
        reasoningSummary: "auto",
      },
    },
  }),
  anthropic: () => ({
    provider: createAnthropic({ baseURL: openAiUrl, apiKey }),
    options: { anthropic: { thinking } },
  }),
  google: () => ({
    provider: createGoogle({ baseURL: `${kurol.baseUrl}/v1beta`, apiKey }),
    options: { google: { thinkingConfig: { includeThoughts: true } } },
  }),
};
const { provider, options } = setups[process.argv[2]]();
const asked = {
  model: provider(kurol.model),
  prompt: kurol.question,
  maxOutputTokens: 4096,
  maxRetries: 0,
  providerOptions: options,
};

// streamText keeps its errors in the stream; here they have to end the script.
async function streamed(field, options) {
  const errors = [];
  const result = streamText({ ...asked, ...options, onError: ({ error }) => errors.push(error) });
  const value = await result[field];
  if (errors.length > 0) {
    throw errors[0];
  }
  return value;
}

await kurol.report({
  async plain() {
    return (await generateText(asked)).text;
  },
  async streamed() {
    return streamed("text", {});
  },
  async reasoning() {
    return streamed("reasoningText", {});
  },
  async file() {
    const { name, description, parameters } = kurol.tool;
    const inputSchema = jsonSchema(parameters);
    return streamed("text", {
      prompt: kurol.task,
      tools: { [name]: { description, inputSchema, execute: kurol.writeFile } },
      stopWhen: isStepCount(5),
    });
  },
  async missing() {
    return kurol.statusOf(() => generateText({ ...asked, model: provider(kurol.missingModel) }));
  },
});
