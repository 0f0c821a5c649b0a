//! What the parser says to programmers, for people who write files.

use granit_parser::{ErrorKind, ScanError};

use crate::load::node::Position;
use crate::load::unreadable::Unreadable;

const BEGINNING: Position = Position { line: 1, column: 1, start: 0, end: 0 };

const QUOTES: &str = "a text that begins with such a character stands in quotes";

/// Returns why a text is no YAML, and where.
pub(super) fn told(error: &ScanError, text: &str) -> Unreadable {
    let at = place_of(error, text);
    if *error.kind() == ErrorKind::RecursionLimitExceeded {
        return Unreadable::too_deep(at);
    }
    if is_tab(error.kind()) {
        return Unreadable::new("not YAML: indent with spaces, not with tabs", tab_near(at, text));
    }
    if let Some(dash) = glued_dash(error.kind(), at, text) {
        return Unreadable::new("not YAML: a blank is missing after '-'", dash);
    }
    let told = Unreadable::new(format!("not YAML: {}", words(error.kind())), at);
    match hint(error.kind()) {
        Some(hint) => told.hint(hint),
        None => told,
    }
}

fn place_of(error: &ScanError, text: &str) -> Position {
    let mark = *error.marker();
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let (line, column) = (narrow(mark.line()), narrow(mark.col() + 1));
    match mark.byte_offset() {
        Some(byte) => Position { line, column, start: narrow(byte), end: narrow(byte) },
        None => Position { line, column, start: 0, end: 0 }.found_in(text),
    }
}

fn is_tab(kind: &ErrorKind) -> bool {
    use ErrorKind as E;
    matches!(
        kind,
        E::TabNotAllowed
            | E::TabInBlockIndentation
            | E::TabInIndentation
            | E::TabInPlainScalar
            | E::TabAtBlockScalarStart
    )
}

/// Returns where the first tab is that indents: one that begins a line before the place where the parser stops, which
/// it may have taken for a blank, else one behind it.
fn tab_near(at: Position, text: &str) -> Position {
    let (before, rest) = text.split_at_checked(at.start as usize).unwrap_or(("", text));
    let begins = |i: &usize| *i == 0 || before[..*i].ends_with(['\n', '\r']);
    if let Some(i) = before.match_indices('\t').map(|(i, _)| i).find(begins) {
        return BEGINNING.behind(&before[..i]);
    }
    let indents = |i: &usize| *i == 0 || rest[..*i].trim_end_matches(' ').ends_with(['\n', '\r']);
    let tab = rest.match_indices('\t').map(|(i, _)| i).find(indents);
    tab.map_or(at, |i| at.behind(&rest[..i]))
}

/// Returns where the line before begins, if it is an item whose dash stands at its text: the parser takes it for a key,
/// and the next line for more of its value.
fn glued_dash(kind: &ErrorKind, at: Position, text: &str) -> Option<Position> {
    if *kind != ErrorKind::MappingValueNotAllowed {
        return None;
    }
    let line = text.get(..at.start as usize)?.rfind('\n')?;
    let before = text[..line].rfind('\n').map_or(0, |end| end + 1);
    let content = text[before..line].trim_start_matches(' ');
    let is_item = content.strip_prefix('-').is_some_and(|item| item.starts_with(char::is_alphabetic));
    (is_item && content.contains(':')).then(|| BEGINNING.behind(&text[..line - content.len()]))
}

fn words(kind: &ErrorKind) -> String {
    use ErrorKind as E;
    let words = match kind {
        E::UnclosedFlowCollection { open } => return format!("'{open}' is not closed"),
        E::MismatchedFlowCollectionEnd { open, close } => return format!("'{open}' is closed by '{close}'"),
        E::UnexpectedCharacter { character } => {
            return format!("the character '{}' cannot stand here", character.escape_debug());
        }
        E::UnexpectedEofFlowSequence => "'[' is not closed",
        E::UnexpectedEofFlowMapping => "'{' is not closed",
        E::UnexpectedEofBlockSequence | E::UnexpectedEofBlockMapping | E::UnexpectedEof => {
            "it ends too early"
        }
        E::MisplacedFlowCollectionEnd => "a bracket is closed that was not opened",
        E::ExpectedFlowMappingSeparator => "',' or '}' is missing",
        E::ExpectedFlowSequenceSeparator => "',' or ']' is missing",
        E::BlockEntryInFlowCollection => "an item with '- ' stands inside brackets",
        E::InvalidFlowScalarIndent => "a line inside brackets is not indented enough",

        E::ExpectedNodeContent | E::UnexpectedEndOfPlainScalar | E::UnexpectedEofImplicitFlowMapping => {
            "a value is missing"
        }
        E::ExpectedBlockMappingKey => "a key is expected here",
        E::ExpectedBlockSequenceEntry => "an item with '- ' is expected here",
        E::SimpleKeyExpected | E::InvalidSimpleKey => "':' is missing after a key",
        E::MappingKeyNotAllowed => "a key cannot stand here",
        E::MappingValueNotAllowed => "': ' cannot stand here",
        E::InvalidColonPlacement => "':' cannot stand here",
        E::InvalidMappingValueWhitespace | E::FlowMappingValueAdjacentCollection => {
            "a blank is missing after ':'"
        }
        E::BlockSequenceEntryNotAllowed => "a list with '- ' cannot begin here",
        E::InvalidBlockEntryWhitespace => "a blank is missing after '-'",
        E::InvalidIndentation => "it is indented wrongly",
        E::ExpectedWhitespace => "a blank is missing",

        E::CommentInterceptedScalar => "a comment stands inside a text of several lines",
        E::CommentNotSeparated => "a blank is missing before '#'",
        E::PlainScalarStartsWithDashFlowIndicator => "a text cannot begin with '-' and a bracket or comma",
        E::UnclosedQuotedScalar => "a quote is not closed",
        E::InvalidTrailingSingleQuotedScalar | E::InvalidTrailingDoubleQuotedScalar => {
            "something follows a closing quote"
        }
        E::InvalidQuotedScalarIndent => "a line of a text in quotes is not indented enough",
        E::DocumentIndicatorInQuotedScalar => "a line of a text in quotes begins with '---' or '...'",
        E::UnknownQuotedScalarEscape => "there is no such escape in double quotes",
        E::InvalidQuotedScalarHexEscape
        | E::InvalidLowSurrogateHexEscape
        | E::InvalidLowSurrogate
        | E::MissingLowSurrogate
        | E::UnpairedLowSurrogate
        | E::InvalidUnicodeEscape => "an escape is no character",
        E::ZeroBlockScalarIndent | E::InvalidBlockScalarHeader => {
            "after '|' or '>' there can only be '+', '-' and an indentation from 1 to 9"
        }
        E::InvalidBlockScalarIndent => "a line of a text after '|' or '>' is indented wrongly",

        E::UnknownAnchor => "there is no such anchor before it",
        E::MissingAnchorOrAliasName => "the name of an anchor or alias is missing",
        E::AnchorCountOverflow => "it has too many anchors",
        E::UndeclaredTagHandle
        | E::ExpectedTagBang
        | E::InvalidGlobalTagCharacter
        | E::InvalidTagTerminator
        | E::MissingTagUri
        | E::UnclosedVerbatimTag
        | E::InvalidTagEscape
        | E::InvalidTagUtf8LeadingByte
        | E::InvalidTagUtf8TrailingByte
        | E::InvalidTagUtf8 => "there is no such tag",

        E::DuplicateVersionDirective
        | E::UnsupportedYamlMajorVersion
        | E::DuplicateTagDirective
        | E::ExpectedTagDirectiveBang
        | E::InvalidDirectiveTerminator
        | E::DirectiveDisallowed
        | E::MissingYamlVersionSeparator
        | E::MissingDirectiveName
        | E::InvalidDirectiveName
        | E::DirectiveByteLimitExceeded { .. }
        | E::TooManyReservedDirectiveParams { .. }
        | E::YamlVersionTooLong
        | E::MissingYamlVersion
        | E::InvalidTagDirectiveTerminator => "a line with '%' at its beginning says nothing that is known",
        E::ExpectedDocumentStart | E::MissingDocumentEndBeforeDirective => "'---' is missing",
        E::InvalidDocumentEnd => "something follows '...'",
        E::BomInsideDocument => "a byte order mark stands inside the text",
        // What cannot happen to a text that is at hand, and what newer parsers say.
        _ => "it cannot be read from here on",
    };
    words.to_owned()
}

fn hint(kind: &ErrorKind) -> Option<&'static str> {
    use ErrorKind as E;
    match kind {
        E::InvalidColonPlacement => Some("is a closing bracket missing before it?"),
        E::MappingValueNotAllowed => Some(
            "a key begins in the column of those beside it; a text with ': ' in it stands in quotes, or on lines of its own after '|'",
        ),
        E::ExpectedBlockMappingKey | E::ExpectedBlockSequenceEntry | E::InvalidIndentation => {
            Some("the keys of an object, and the items of a list, begin in the same column")
        }
        E::SimpleKeyExpected | E::InvalidSimpleKey => {
            Some("the lines of a text after '|' are indented more than its key")
        }
        E::UnexpectedCharacter { character } if character.is_control() => {
            Some("in double quotes it is written as an escape")
        }
        E::UnexpectedCharacter { .. }
        | E::UnknownAnchor
        | E::MissingAnchorOrAliasName
        | E::PlainScalarStartsWithDashFlowIndicator
        | E::UndeclaredTagHandle
        | E::InvalidTagTerminator
        | E::MissingTagUri => Some(QUOTES),
        E::InvalidTrailingSingleQuotedScalar => Some("a quote in a text in single quotes is written twice"),
        E::InvalidTrailingDoubleQuotedScalar => Some("a quote in a text in double quotes is written \\\""),
        E::InvalidQuotedScalarIndent | E::DocumentIndicatorInQuotedScalar => {
            Some("is the closing quote missing?")
        }
        E::UnknownQuotedScalarEscape => Some("in single quotes a backslash is a backslash"),
        _ => None,
    }
}
