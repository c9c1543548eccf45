#include "formats/tokenizer/tokenizer.h"

#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/tokenizer/tokenizer_impl.h"

namespace lancet {
namespace {

/// One text on its way through the pipeline.
class Encoder {
 public:
  Encoder(const Tokenizer::Impl& parts, std::string_view text)
      : parts_(parts), text_(text), scratch_(parts.scratch.take(*parts.model)) {}
  ~Encoder() { parts_.scratch.give_back(std::move(scratch_)); }
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  Encoding run() {
    scratch_->arena.begin(text_.size());
    out_.ids.reserve(text_.size() / 4 + 8);
    out_.offsets.reserve(text_.size() / 4 + 8);
    const auto token = [&](const AddedToken& found, ByteSpan span) { add(found.id, span); };
    const auto word = [&](const Segment& piece) { add_word(piece); };
    parts_.added.split_raw(
        Segment{text_},
        [&](const Segment& raw) {
          const Segment normal =
              parts_.normalizer ? parts_.normalizer->apply(raw, scratch_->arena) : raw;
          parts_.added.split_normalized(
              normal, [&](const Segment& rest) { parts_.pre.apply(rest, scratch_->arena, word); },
              token);
        },
        token);
    return std::move(out_);
  }

 private:
  void add(TokenId id, ByteSpan span) {
    out_.ids.push_back(id);
    out_.offsets.emplace_back(span.begin, span.end);
  }

  void add_word(const Segment& word) {
    scratch_->pieces.clear();
    parts_.model->encode(word.text, *scratch_->model, scratch_->pieces);
    for (const Piece& piece : scratch_->pieces)
      add(piece.id, word.input_range(piece.begin, piece.end));
  }

  const Tokenizer::Impl& parts_;
  std::string_view text_;
  std::unique_ptr<EncodeScratch> scratch_;
  Encoding out_;
};

}  // namespace

Tokenizer::Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Tokenizer Tokenizer::from_json(const Json& tokenizer_json, std::string_view source) {
  return Tokenizer(make_tokenizer(tokenizer_json, source));
}

Encoding Tokenizer::encode(std::string_view text, bool special) const {
  if (text.size() >= UINT32_MAX) {
    fail(ErrorKind::kInput, "tokenizer",
         "expected a text below 4 GiB, found " + human_bytes(text.size()));
  }
  if (const auto bad = find_invalid_utf8(text)) {
    fail(ErrorKind::kInput, "tokenizer", fmt::format("the text is not UTF-8 at byte {}", *bad),
         "convert it, or replace what is invalid");
  }
  Encoding encoding = Encoder(*impl_, text).run();
  if (special) impl_->post.apply(encoding);
  return encoding;
}

std::string Tokenizer::decode(const std::vector<TokenId>& ids, bool skip_special) const {
  if (impl_->decoders.is_byte_level()) {
    std::string bytes;
    bytes.reserve(ids.size() * 4);
    for (const TokenId id : ids) impl_->append_bytes(id, skip_special, bytes);
    return find_invalid_utf8(bytes) ? utf8_lossy(bytes) : bytes;
  }
  if (const FragmentTable* table = impl_->fragments()) {
    return table->decode(impl_->decoders, ids, skip_special,
                         [&](TokenId id) { return impl_->piece(id); });
  }
  std::vector<std::string> pieces;
  for (const TokenId id : ids) {
    if (skip_special && impl_->is_special(id)) continue;
    if (const auto piece = impl_->piece(id)) pieces.emplace_back(*piece);
  }
  return impl_->decoders.decode(std::move(pieces));
}

std::int64_t Tokenizer::vocab_size() const noexcept { return std::int64_t{impl_->max_id} + 1; }

std::optional<TokenId> Tokenizer::id(std::string_view token) const {
  if (const AddedToken* found = impl_->added.find(token)) return found->id;
  return impl_->model->vocabulary().find(token);
}

std::string Tokenizer::token(TokenId id) const {
  if (const AddedToken* added = impl_->added.find(id)) return added->content;
  if (const auto piece = impl_->piece(id)) return std::string(*piece);
  fail(ErrorKind::kInput, "tokenizer",
       fmt::format("no token has the id {} (vocabulary of {})", id, vocab_size()));
}

std::optional<std::string> Tokenizer::spelling(TokenId id) const {
  const auto piece = impl_->piece(id);
  if (!piece) return std::nullopt;
  const Decoders& decoders = impl_->decoders;
  std::string out;
  if (decoders.is_byte_level()) {
    append_piece_bytes(*piece, out);
  } else if (!decoders.is_simple()) {
    out = *piece;
  } else {
    out = decoders.fragment(*piece, false);
    const auto byte = decoders.has_byte_fallback() ? byte_token(out) : std::nullopt;
    if (byte) out.assign(1, *byte);
  }
  return out;
}

bool Tokenizer::is_special(TokenId id) const { return impl_->is_special(id); }
std::optional<TokenId> Tokenizer::bos() const { return impl_->bos; }
std::optional<TokenId> Tokenizer::eos() const { return impl_->eos; }
std::string_view Tokenizer::kind() const noexcept { return impl_->model->kind(); }

const Json& Tokenizer::json() const {
  std::call_once(impl_->json_made, [this] {
    Json whole = impl_->description;
    impl_->model->save(whole["model"]);
    impl_->json = std::move(whole);
  });
  return impl_->json;
}

}  // namespace lancet
