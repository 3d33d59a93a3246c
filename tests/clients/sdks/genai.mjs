// The Google SDK.
import { GoogleGenAI } from "@google/genai";
import * as kurol from "./common.mjs";

const client = new GoogleGenAI({
  apiKey: kurol.apiKey,
  httpOptions: { baseUrl: kurol.baseUrl },
});
const config = { thinkingConfig: { includeThoughts: true, thinkingLevel: "HIGH" } };
const asked = { model: kurol.model, contents: kurol.question, config };

// The SDK's chat keeps the history, with the thought signatures in it.
async function work() {
  const { parameters, ...tool } = kurol.tool;
  const declared = [{ ...tool, parametersJsonSchema: parameters }];
  const chat = client.chats.create({
    model: kurol.model,
    config: { ...config, tools: [{ functionDeclarations: declared }] },
  });
  let message = kurol.task;
  for (let turn = 0; turn < 5; turn += 1) {
    let text = "";
    const calls = [];
    for await (const chunk of await chat.sendMessageStream({ message })) {
      for (const part of chunk.candidates?.[0]?.content?.parts ?? []) {
        text += part.thought ? "" : (part.text ?? "");
      }
      calls.push(...(chunk.functionCalls ?? []));
    }
    if (calls.length === 0) {
      return text;
    }
    message = calls.map((call) => ({
      functionResponse: {
        id: call.id,
        name: call.name,
        response: { output: kurol.writeFile(call.args) },
      },
    }));
  }
  return "the model never stopped calling";
}

await kurol.report({
  async plain() {
    return (await client.models.generateContent(asked)).text;
  },
  async streamed() {
    let text = "";
    for await (const chunk of await client.models.generateContentStream(asked)) {
      text += chunk.text ?? "";
    }
    return text;
  },
  async reasoning() {
    let thought = "";
    for await (const chunk of await client.models.generateContentStream(asked)) {
      for (const part of chunk.candidates?.[0]?.content?.parts ?? []) {
        thought += part.thought ? part.text : "";
      }
    }
    return thought;
  },
  file: work,
  async missing() {
    const call = { ...asked, model: kurol.missingModel };
    return kurol.statusOf(() => client.models.generateContent(call));
  },
});
