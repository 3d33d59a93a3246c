// The OpenAI SDK on Chat Completions.
import OpenAI from "openai";
import * as kurol from "./common.mjs";

const client = new OpenAI({ baseURL: `${kurol.baseUrl}/v1`, apiKey: kurol.apiKey, maxRetries: 0 });
const said = (content) => [{ role: "user", content }];
const asked = { model: kurol.model, messages: said(kurol.question), reasoning_effort: "high" };

await kurol.report({
  async plain() {
    const answer = await client.chat.completions.create(asked);
    return answer.choices[0].message.content;
  },
  async streamed() {
    const stream = client.chat.completions.stream({
      ...asked,
      stream_options: { include_usage: true },
    });
    return (await stream.finalChatCompletion()).choices[0].message.content;
  },
  async reasoning() {
    let thought = "";
    for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
      thought += chunk.choices[0]?.delta.reasoning_content ?? "";
    }
    return thought;
  },
  async file() {
    const runner = client.chat.completions.runTools({
      model: kurol.model,
      messages: said(kurol.task),
      tools: [
        {
          type: "function",
          function: { ...kurol.tool, parse: JSON.parse, function: kurol.writeFile },
        },
      ],
      stream: true,
    });
    return runner.finalContent();
  },
  async missing() {
    const call = { model: kurol.missingModel, messages: said(kurol.question) };
    return kurol.statusOf(() => client.chat.completions.create(call));
  },
});
