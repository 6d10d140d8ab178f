use msd_ir::diag::Diagnostic; 
/// x
pub fn format(text: &str) -> Result<String, Vec<Diagnostic>> { Ok(text.into()) }
