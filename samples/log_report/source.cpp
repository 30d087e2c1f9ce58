#include "source.hpp"

#include "../common/words.hpp"

#include <zlib.h>

#include <cstring>
#include <span>
#include <stdexcept>
#include <utility>

namespace log_report {
namespace {

constexpr std::size_t raw_size = 1 << 16;
constexpr std::byte magic[] = {std::byte{0x1f}, std::byte{0x8b}};

}  // namespace

source::source(std::string path) : path_{std::move(path)}, raw_(raw_size)
{
}

source::~source()
{
    if (stream_)
        ::inflateEnd(stream_.get());
}

void source::open()
{
    file_.open(path_);
}

bool source::ended() const noexcept
{
    return file_.ended() && begin_ == end_;
}

std::size_t source::fill()
{
    if (begin_ == end_)
        begin_ = end_ = 0;
    if (end_ == raw_.size() || file_.ended())
        return 0;
    const std::size_t got = file_.read(std::span{raw_}.subspan(end_));
    end_ += got;
    return got;
}

void source::find_format()
{
    if (end_ < sizeof magic && !file_.ended())
        return;
    const bool compressed = end_ >= sizeof magic && std::memcmp(raw_.data(), magic, sizeof magic) == 0;
    format_ = compressed ? format::gzip : format::plain;
    if (compressed) {
        stream_ = std::make_unique<z_stream>();
        constexpr int with_gzip_header = 16 + MAX_WBITS;
        if (::inflateInit2(stream_.get(), with_gzip_header) != Z_OK)
            throw std::runtime_error{"zlib can not begin"};
        inside_ = true;
    }
}

std::size_t source::read(std::string& text, std::size_t size)
{
    std::size_t taken = 0;
    if (format_ == format::unknown || (format_ == format::gzip && begin_ == end_))
        taken = fill();
    if (format_ == format::unknown)
        find_format();
    if (format_ == format::gzip) {
        inflate(text, size);
    } else if (format_ == format::plain) {
        text.append(reinterpret_cast<const char*>(raw_.data()) + begin_, end_ - begin_);
        begin_ = end_ = 0;
        const std::size_t before = text.size();
        text.resize(before + size);
        std::size_t got = 0;
        if (!file_.ended())
            got = file_.read(std::as_writable_bytes(std::span{text}.subspan(before)));
        text.resize(before + got);
        taken += got;
    }
    return taken;
}

void source::inflate(std::string& text, std::size_t size)
{
    const std::size_t before = text.size();
    text.resize(before + size);
    stream_->next_out = reinterpret_cast<Bytef*>(text.data() + before);
    stream_->avail_out = static_cast<uInt>(size);
    while (stream_->avail_out != 0 && begin_ != end_) {
        stream_->next_in = reinterpret_cast<Bytef*>(raw_.data() + begin_);
        stream_->avail_in = static_cast<uInt>(end_ - begin_);
        const int how = ::inflate(stream_.get(), Z_NO_FLUSH);
        begin_ = end_ - stream_->avail_in;
        inside_ = how != Z_STREAM_END;
        // There may be more members; what is no member is not text either.
        if (how == Z_STREAM_END)
            ::inflateReset(stream_.get());
        else if (how != Z_OK && how != Z_BUF_ERROR)
            throw std::runtime_error{common::escape(path_) + ": " +
                                     (stream_->msg != nullptr ? stream_->msg : "is not valid gzip")};
    }
    text.resize(text.size() - stream_->avail_out);
    if (begin_ == end_ && file_.ended() && inside_ && stream_->avail_out != 0)
        throw std::runtime_error{common::escape(path_) + ": ends in the middle of what was compressed"};
}

}  // namespace log_report
