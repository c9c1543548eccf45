#pragma once
// Responses of OpenAI-compatible servers to TeacherAnswer. One reader for both routes, streamed or
// not: a stream is first put together into the document that the server would have sent at once.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "distill/teacher/answer.h"
#include "distill/teacher/request.h"

namespace lancet {

/// What a response with status 200 turned out to be.
struct Parsed {
  enum class Kind {
    kAnswer,
    kMalformed,   ///< damaged on the way or by the server: worth another attempt
    kServerError  ///< an error body under status 200; `status` says which
  };
  Kind kind = Kind::kMalformed;
  TeacherAnswer answer;
  long status = 0;
  std::string message;
};

/// A whole JSON body. Never throws for what a server may send.
[[nodiscard]] Parsed parse_answer(std::string_view body, const TeacherRequest& request);
/// The same for one that has been read. Throws kInput, or nlohmann's exception, for what is
/// damaged.
[[nodiscard]] Parsed parse_document(const Json& document, const TeacherRequest& request);
/// A whole event stream: malformed unless it ends as a stream does.
[[nodiscard]] Parsed parse_stream(std::string_view body, const TeacherRequest& request);
/// By content type: "text/event-stream" or JSON (also under other names, where it parses).
[[nodiscard]] Parsed parse_response(std::string_view content_type, std::string_view body,
                                    const TeacherRequest& request);

/// The message of an error body in any of the shapes in use, cut to one line; "" when there is
/// none.
[[nodiscard]] std::string error_message(std::string_view body);

/// Log probabilities in chat form ({"content":[...]}) or completions form ({"tokens":[...],
/// "token_logprobs":[...], "top_logprobs":[...]}), whichever stands there. Throws kInput on others.
/// Of the completions form the alternatives may come packed (vLLM, `packed_top_logprobs`): base64
/// of little-endian int32 and float32 of shape [tokens, k], in one block or, from a stream,
/// several.
[[nodiscard]] std::vector<TeacherToken> parse_logprobs(const Json& logprobs);
/// vLLM's prompt_logprobs: one {id: {"logprob","rank","decoded_token"}} a position, null first.
[[nodiscard]] std::vector<TeacherToken> parse_prompt_logprobs(const Json& list,
                                                              const std::vector<std::int64_t>& ids);

}  // namespace lancet
