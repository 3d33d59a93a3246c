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
  openai: () => ({
    provider: createOpenAI({ baseURL: openAiUrl, apiKey }),
    options: { openai: { forceReasoning: true, reasoningEffort: "high", reasoningSummary: "auto" } },
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
function onError({ error }) {
  throw error;
}

await kurol.report({
  async plain() {
    return (await generateText(asked)).text;
  },
  async streamed() {
    return streamText({ ...asked, onError }).text;
  },
  async reasoning() {
    return streamText({ ...asked, onError }).reasoningText;
  },
  async file() {
    const { name, description, parameters } = kurol.tool;
    const inputSchema = jsonSchema(parameters);
    const result = streamText({
      ...asked,
      prompt: kurol.task,
      tools: { [name]: { description, inputSchema, execute: kurol.writeFile } },
      stopWhen: isStepCount(5),
      onError,
    });
    return result.text;
  },
  async missing() {
    return kurol.statusOf(() => generateText({ ...asked, model: provider(kurol.missingModel) }));
  },
});
