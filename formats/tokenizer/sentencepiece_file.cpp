// The protobuf wire format of sentencepiece_model.proto, as far as it says how to tokenize.

#include <bit>

#include <fmt/format.h>

#include "core/bytes.h"
#include "core/text.h"
#include "formats/tokenizer/sentencepiece.h"

namespace lancet {
namespace {

constexpr std::size_t kPieceLimit = 4U << 20U;

/// Fields of one message, one after the other.
class Message {
 public:
  Message(std::string_view bytes, const Where& where) : bytes_(bytes), where_(where) {}

  /// Advances to the next field; false at the end.
  bool next() {
    if (at_ == bytes_.size()) return false;
    const std::uint64_t tag = read_varint();
    field_ = static_cast<std::uint32_t>(tag >> 3U);
    switch (tag & 7U) {
      case 0:
        number_ = read_varint();
        break;
      case 1:
        take(8);
        break;
      case 2:
        take(read_varint());
        break;
      case 5:
        take(4);
        number_ = load_le<std::uint32_t>(text_.data());
        break;
      default:
        damaged();
    }
    return true;
  }

  [[nodiscard]] std::uint32_t field() const { return field_; }
  [[nodiscard]] std::uint64_t number() const { return number_; }
  [[nodiscard]] bool boolean() const { return number_ != 0; }
  [[nodiscard]] float real() const {
    return std::bit_cast<float>(static_cast<std::uint32_t>(number_));
  }
  [[nodiscard]] std::string_view text() const { return text_; }
  [[nodiscard]] Message message() const { return {text_, where_}; }

 private:
  std::uint64_t read_varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at_ == bytes_.size()) damaged();
      const auto byte = static_cast<std::uint8_t>(bytes_[at_++]);
      value |= static_cast<std::uint64_t>(byte & 0x7FU) << shift;
      if (byte < 0x80) return value;
    }
    damaged();
  }
  void take(std::uint64_t length) {
    if (length > bytes_.size() - at_) damaged();
    text_ = bytes_.substr(at_, length);
    at_ += length;
  }
  [[noreturn]] void damaged() const {
    where_.fail_input(
        fmt::format("expected a SentencePiece model, found damage at byte {} of a "
                    "message of {}",
                    at_, bytes_.size()));
  }

  std::string_view bytes_;
  const Where& where_;
  std::size_t at_ = 0;
  std::uint32_t field_ = 0;
  std::uint64_t number_ = 0;
  std::string_view text_;
};

SentencePieceModel::Piece read_piece(Message message, std::size_t index, const Where& where) {
  SentencePieceModel::Piece piece;
  while (message.next()) {
    if (message.field() == 1) piece.text = message.text();
    if (message.field() == 2) piece.score = message.real();
    if (message.field() != 3) continue;
    if (message.number() < 1 || message.number() > 6)
      where.fail_input(fmt::format("pieces[{}]: the type {} is none", index, message.number()));
    piece.type = static_cast<SentencePieceModel::Type>(message.number());
  }
  if (find_invalid_utf8(piece.text))
    where.fail_input(fmt::format("pieces[{}]: the piece is not UTF-8", index));
  return piece;
}

std::optional<TokenId> read_id(const Message& message) {
  const auto id = static_cast<std::int64_t>(message.number());
  if (id < 0 || id > INT32_MAX) return std::nullopt;
  return static_cast<TokenId>(id);
}

void read_trainer(Message message, SentencePieceModel& model, const Where& where) {
  while (message.next()) {
    switch (message.field()) {
      case 3:
        if (message.number() != 1 && message.number() != 2) {
          where.key("trainer_spec")
              .fail_unsupported("model_type", message.number() == 3 ? "WORD" : "CHAR");
        }
        model.unigram = message.number() == 1;
        break;
      case 24:
        model.whitespace_is_suffix = message.boolean();
        break;
      case 35:
        model.byte_fallback = message.boolean();
        break;
      case 41:
        model.bos = read_id(message);
        break;
      case 42:
        model.eos = read_id(message);
        break;
      default:
        break;
    }
  }
}

void read_normalizer(Message message, SentencePieceModel& model) {
  while (message.next()) {
    if (message.field() == 2) model.charsmap = message.text();
    if (message.field() == 3) model.add_dummy_prefix = message.boolean();
    if (message.field() == 4) model.remove_extra_whitespaces = message.boolean();
    if (message.field() == 5) model.escape_whitespaces = message.boolean();
  }
}

}  // namespace

SentencePieceModel parse_sentencepiece(std::string_view bytes, const Where& where) {
  SentencePieceModel model;
  model.bos = 1;
  model.eos = 2;
  Message message(bytes, where);
  while (message.next()) {
    if (message.field() == 1) {
      if (model.pieces.size() >= kPieceLimit)
        where.fail_input(fmt::format("more than {} pieces", kPieceLimit));
      model.pieces.push_back(read_piece(message.message(), model.pieces.size(), where));
    }
    if (message.field() == 2) read_trainer(message.message(), model, where);
    if (message.field() == 3) read_normalizer(message.message(), model);
  }
  if (model.pieces.empty()) where.fail_input("expected a SentencePiece model, found no pieces");
  const auto drop_missing = [&](std::optional<TokenId>& id) {
    if (id && static_cast<std::size_t>(*id) >= model.pieces.size()) id.reset();
  };
  drop_missing(model.bos);
  drop_missing(model.eos);
  for (std::size_t i = 0; i < model.pieces.size(); ++i) {
    if (model.pieces[i].type == SentencePieceModel::Type::kUnknown)
      model.unk = static_cast<TokenId>(i);
  }
  return model;
}

}  // namespace lancet
