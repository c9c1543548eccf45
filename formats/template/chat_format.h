#pragma once
// A model's chat templates with the special tokens that they name, and which bytes of a rendered
// conversation the assistant spoke.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "formats/chat_templates.h"
#include "formats/model_source.h"
#include "formats/template/chat_template.h"

namespace lancet {

class ChatFormat {
 public:
  /// Nothing when the model has no template. Errors: kInput for a template that cannot be read.
  [[nodiscard]] static std::optional<ChatFormat> of(const ModelSource& source);
  /// `special`: bos_token, eos_token, ... as the template names them.
  ChatFormat(const ChatTemplates& templates, Json special);
  /// With one template for all conversations.
  ChatFormat(std::string_view source, Json special);

  /// `conversation`: an array of {"role","content",...}, or an object with such a "messages", whose
  /// other members reach the template too, before special tokens of their names. One with "tools"
  /// goes through the template "tool_use" where there is one, all others through "default". kInput
  /// for what is neither, an empty conversation, tools and documents that are no arrays of objects,
  /// a model without a template of that name, or what the template refuses. Safe to call from many
  /// threads. `now`: seconds since 1970, for templates that print the date.
  [[nodiscard]] Rendered render(const Json& conversation, bool add_generation_prompt,
                                std::int64_t now) const;

  /// The same without a generation prompt; the spans are the assistant's turns: those of the
  /// template's {% generation %} blocks, else what follows the generation prompt of the messages
  /// before (of a first message: what is written before its content whatever that is), up to the
  /// text that comes before the next message. kInput when the template does not let them be told
  /// (it writes earlier messages otherwise once later ones are there).
  [[nodiscard]] Rendered render_turns(const Json& conversation, std::int64_t now) const;

  /// Whether the template of this conversation has {% generation %} blocks.
  [[nodiscard]] bool marks_turns(const Json& conversation) const;

 private:
  struct Part {
    explicit Part(std::string_view source);
    ChatTemplate program;
    bool marks_turns = false;  ///< has {% generation %} blocks
  };
  std::optional<Part> default_, tools_;
  std::optional<Error> unread_;  ///< why the template of tools is not read
  std::vector<std::string> names_;
  Json special_;

  [[nodiscard]] const Part& part_of(const Json& conversation) const;
  /// Where the content of a message begins in `text`, the whole conversation's; npos where the
  /// template does not tell.
  [[nodiscard]] std::size_t content_begin(const std::string& text, const Json& conversation,
                                          std::size_t turn, std::int64_t now) const;
  [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> turn_span(const std::string& text,
                                                                  const Json& conversation,
                                                                  std::size_t turn,
                                                                  std::int64_t now) const;
};

}  // namespace lancet
